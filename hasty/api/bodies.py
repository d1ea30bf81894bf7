"""Bounded reading of request bodies."""

from starlette.requests import Request

from hasty.errors import BodyTooLarge

#: Longest body of a request, in bytes.
BODY_LIMIT = 1024 * 1024


async def read_body(request: Request) -> bytes:
    """Return the body; raise BodyTooLarge as soon as it is known to be, without reading the rest."""
    declared = request.headers.get("content-length", "")
    # Compared by length first: a number of thousands of digits is not worth parsing.
    if declared.isdecimal() and (len(declared) > len(str(BODY_LIMIT)) or int(declared) > BODY_LIMIT):
        raise BodyTooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise BodyTooLarge
    return bytes(body)
