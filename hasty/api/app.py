"""The ASGI application: its surfaces, and how errors of the seed surface become status codes."""

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hasty.api.gateway import Gateway
from hasty.api.guard import OPEN, Gate, Guard, as_message, as_problem
from hasty.api.hub import Hub
from hasty.api.readers import Readers
from hasty.api.scheduling import Scheduling
from hasty.api.seed import Seed, message
from hasty.api.v1 import build_v1
from hasty.errors import BacklogFull, BodyTooLarge, FixTheRequest, IdempotencyKeyReused, TryAgainLater
from hasty.store.base import Outbox

_logger = logging.getLogger("hasty.api")

#: Paths of `/v1` that do not begin with it.
_OF_V1 = {"/v1", "/docs", "/openapi.json"}


class Surfaces:
    """Both surfaces in one application: who asks for the seed's does not pass through the other's."""

    def __init__(self, seed: ASGIApp, v1: ASGIApp) -> None:
        """Take the two applications; the seed's is the one that hears of start and stop."""
        self._seed = seed
        self._v1 = v1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request by the surface that its path belongs to."""
        path = scope.get("path", "")
        app = self._v1 if path in _OF_V1 or path.startswith("/v1/") else self._seed
        await app(scope, receive, send)


def build_app(
    gateway: Gateway,
    rerun_window_s: float,
    gate: Gate | None = None,
    *,
    readers: Readers | None = None,
    hub: Hub | None = None,
    scheduling: Scheduling | None = None,
    outbox: Outbox | None = None,
) -> ASGIApp:
    """Return the application that serves from `gateway`: those whom `gate` lets in, if there is one."""
    seed = build_seed(gateway, rerun_window_s)
    v1 = build_v1(
        gateway,
        secured=gate is not None,
        readers=readers,
        hub=hub,
        scheduling=scheduling,
        outbox=outbox,
    )
    if gate is None:
        return Surfaces(seed, v1)
    return Surfaces(Guard(seed, gate, as_message, OPEN), Guard(v1, gate, as_problem))


def build_seed(gateway: Gateway, rerun_window_s: float) -> Starlette:
    """Return the application of the seed surface, with the health pages."""
    seed = Seed(gateway, rerun_window_s)
    health = Health(gateway)
    app = Starlette(
        routes=[
            Route("/", seed.submit, methods=["POST"]),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/{job_id}", seed.show),
        ],
        exception_handlers={
            HTTPException: _of_starlette,
            BodyTooLarge: _too_large,
            FixTheRequest: _bad_request,
            IdempotencyKeyReused: _unprocessable,
            TryAgainLater: _try_again,
            BacklogFull: _too_many,
            ClientDisconnect: _gone,
            Exception: _unexpected,
        },
    )
    # A redirect would lead to whatever the Host header says.
    app.router.redirect_slashes = False
    return app


class Health:
    """For load balancers and people: is this process up, and would a job be served?"""

    def __init__(self, gateway: Gateway) -> None:
        """Ask through `gateway`."""
        self._gateway = gateway

    async def alive(self, _request: Request) -> Response:
        """`GET /healthz`: this process answers."""
        return message("ok")

    async def ready(self, _request: Request) -> Response:
        """`GET /readyz`: MongoDB, Registry and Dispatcher answer; 503 names those that do not."""
        problems = await self._gateway.ready()
        if not problems:
            return message("ready")
        told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return message(f"not ready: {told}", 503, {"Retry-After": "1"})


async def _of_starlette(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return message(error.detail, error.status_code, dict(error.headers or {}))


async def _too_large(_request: Request, error: Exception) -> Response:
    return message(str(error), 413)


async def _bad_request(_request: Request, error: Exception) -> Response:
    return message(str(error), 400)


async def _unprocessable(_request: Request, error: Exception) -> Response:
    return message(str(error), 422)


async def _too_many(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BacklogFull)
    return message(str(error), 429, {"Retry-After": str(error.retry_after_s)})


async def _try_again(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TryAgainLater)
    return message(str(error), 503, {"Retry-After": str(error.retry_after_s)})


async def _gone(_request: Request, _error: Exception) -> Response:
    """Nobody is there to read it."""
    return message("the client hung up", 400)


async def _unexpected(request: Request, error: Exception) -> Response:
    _logger.error("%s failed", request.method, exc_info=error)
    return message("something went wrong inside hasty; the same request may succeed later", 500)
