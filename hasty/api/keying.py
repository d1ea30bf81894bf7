"""`Idempotency-Key`: the client's name for a request, so that it can be made again without harm."""

import re

from starlette.requests import Request

from hasty.errors import InvalidRequest

HEADER = "Idempotency-Key"

#: Visible ASCII, so that it passes through every proxy and log as it is.
_KEY = re.compile(r"[!-~]{1,255}")

#: For OpenAPI.
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A repeat with the same key gets the first answer, for as long as the job is kept.",
    "schema": {"type": "string", "pattern": f"^{_KEY.pattern}$"},
}


def key_of(request: Request, surface: str) -> str | None:
    """Return the key that a request carries, apart from those of other surfaces and of other API keys.

    Raises InvalidRequest for one that is none.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidRequest(complaints=((HEADER, "must be 1 to 255 visible ASCII characters"),))
    whose = getattr(request.state, "key_id", "")
    return f"{surface}:{whose}:{given}"
