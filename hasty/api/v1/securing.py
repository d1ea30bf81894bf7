"""How OpenAPI is told that API keys are asked for."""

from typing import Any

from hasty.api.guard import OPEN
from hasty.api.v1.describing import problems

_SCHEME = "api_key"

_SAID = "`hasty keys add` makes one. GET takes its scope `read`, changing pools `admin`, all else `write`."


def secure(described: dict[str, Any]) -> None:
    """Say in a description which requests take a key, and what is answered where it will not do."""
    scheme = {"type": "http", "scheme": "bearer", "description": _SAID}
    described["components"]["securitySchemes"] = {_SCHEME: scheme}
    described["security"] = [{_SCHEME: []}]
    answers = {str(status): answer for status, answer in problems(401, 403, 429, 503).items()}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            if path in OPEN:
                operation["security"] = []
            else:
                # What a surface says of these statuses itself is in its own words.
                operation["responses"] = answers | operation["responses"]
