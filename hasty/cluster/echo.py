"""A bare Serve application to measure hasty against: same proxies and settings, no work at all.

Spoken to like `hasty.cluster.operator`, of whose words it knows `deploy`.
"""

import os
import sys

from ray import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hasty.cluster import system
from hasty.cluster.ingress import INGRESS
from hasty.settings import Settings


async def echo(request: Request) -> Response:
    """Answer with what was asked."""
    return JSONResponse({"message": (await request.body()).decode()}, 201)


@serve.deployment(name="Echo", **INGRESS)
@serve.ingress(Starlette(routes=[Route("/", echo, methods=["POST"])]))
class Echo:
    """The bare application as a deployment."""


def main(settings: Settings) -> None:
    """Deploy when told to, and stay until the input ends."""
    for line in sys.stdin:
        if line.strip() == "deploy":
            system.connect(os.environ["RAY_ADDRESS"])
            system.start_serve(settings)
            serve.run(Echo.bind(), name="echo", route_prefix="/")  # type: ignore[attr-defined]
            print("deployed", flush=True)  # noqa: T201  the protocol


if __name__ == "__main__":
    main(Settings.load(os.environ))
