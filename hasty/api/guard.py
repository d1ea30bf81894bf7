"""Who may come in: API keys are asked for at the edge, around each surface."""

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from hasty import keys
from hasty.api.keyring import FRESH_S, Keyring
from hasty.api.limits import Limits
from hasty.api.problems import CODES, error_document, respond
from hasty.api.seed import message
from hasty.clock import Clock
from hasty.errors import FixTheRequest, Forbidden, RateLimited, TryAgainLater, Unauthorized
from hasty.keys import ApiKey, Presented, Standing
from hasty.store.base import KeyStore

Refusal = FixTheRequest | TryAgainLater

#: What load balancers ask for, who have no key.
OPEN = frozenset({"/healthz", "/readyz"})

_HEADER = b"authorization"

_NEEDED: Mapping[str, keys.Scope] = {
    "GET": keys.Scope.READ,
    "HEAD": keys.Scope.READ,
    "OPTIONS": keys.Scope.READ,
    "POST": keys.Scope.WRITE,
    "DELETE": keys.Scope.WRITE,
}

#: What operators change lies here.
_OPERATORS = "/v1/pools"

_SAID: Mapping[Standing, str] = {
    Standing.UNKNOWN: "This API key is not known.",
    Standing.EXPIRED: "This API key has expired.",
    Standing.REVOKED: "This API key was revoked.",
}

#: Of WebSockets: the peer may not.
_POLICY_VIOLATION = 1008


def needed(method: str, path: str) -> keys.Scope:
    """Return the scope that a request needs; of what is not foreseen, the highest."""
    scope = _NEEDED.get(method, keys.Scope.ADMIN)
    return keys.Scope.ADMIN if scope != keys.Scope.READ and path.startswith(_OPERATORS) else scope


class Visit(NamedTuple):
    """What somebody came in with, and its record."""

    presented: Presented
    key: ApiKey


class Gate:
    """Decides who comes in. One for both surfaces: a key's requests are counted together."""

    def __init__(self, store: KeyStore, clock: Clock, rate_limit: float | None = None) -> None:
        """Find keys in `store`. `rate_limit`, per second, is for keys that have none of their own."""
        self._keyring = Keyring(store, clock)
        self._limits = Limits()
        self._clock = clock
        self._rate_limit = rate_limit

    async def admit(self, authorization: Sequence[str], scope: keys.Scope) -> Visit:
        """Let somebody in who came with these `Authorization` headers for what needs this scope.

        Raises Unauthorized, RateLimited, Forbidden, in this order, and TryAgainLater when it is not
        known whether there is such a key.
        """
        if not authorization:
            raise Unauthorized("Send an API key, as in `Authorization: Bearer hasty_…`.")
        presented = keys.parse_authorization(authorization)
        if presented is None:
            raise Unauthorized("What came as Authorization is not `Bearer` and one API key.")
        key = await self.recognise(presented)
        self._count(key)
        if not key.allows(scope):
            raise Forbidden(f"This takes an API key with the scope {scope}.", scope=scope)
        return Visit(presented, key)

    async def recognise(self, presented: Presented) -> ApiKey:
        """Return the record of a key that is valid now. Raises Unauthorized, TryAgainLater."""
        key = await self._keyring.find(presented.id)
        standing = keys.judge(presented, key, self._clock.now())
        if key is None or standing != Standing.VALID:
            raise Unauthorized(_SAID[standing])
        return key

    def _count(self, key: ApiKey) -> None:
        rate = self._rate_limit if key.rate is None else key.rate
        wait_s = self._limits.take(key.id, rate, self._clock.monotonic()) if rate is not None else 0.0
        if wait_s:
            raise RateLimited(
                f"The rate of this API key is {rate:g} requests per second.", retry_after_s=math.ceil(wait_s)
            )


def as_message(error: Refusal) -> Response:
    """Refuse on the seed surface."""
    return message(str(error), CODES[error.code][0], _headers(error))


def as_problem(error: Refusal) -> Response:
    """Refuse on `/v1`."""
    more = {"scope": error.scope} if isinstance(error, Forbidden) else {}
    return respond(error_document(error) | more, _headers(error))


def _headers(error: Refusal) -> dict[str, str]:
    if isinstance(error, TryAgainLater):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}


class Guard:
    """Lets requests through to an application whose key allows them.

    The application finds the id of the key as `key_id` in the state of the request, and not the key.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        refuse: Callable[[Refusal], Response],
        open_paths: Collection[str] = (),
    ) -> None:
        """Ask `gate` about whatever is not for one of the paths that are open to everybody."""
        self._app = app
        self._gate = gate
        self._refuse = refuse
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it before its body is read."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
        elif scope["path"] in self._open:
            await self._app(_behind(scope), receive, send)
        else:
            await self._guard(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
        try:
            visit = await self._gate.admit(sent, needed(scope["method"], scope["path"]))
        except (FixTheRequest, TryAgainLater) as error:
            await self._refuse(error)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(None) as limit:
                stream = _Stream(self._gate, visit.presented, send, limit)
                await self._app(_behind(scope, key_id=visit.key.id), receive, stream.send)
        except TimeoutError:
            if not limit.expired():
                raise


def _behind(scope: Scope, **state: str) -> Scope:
    """Return what the application sees of a request: whose it is, but no secret."""
    headers = [header for header in scope["headers"] if header[0] != _HEADER]
    return {**scope, "headers": headers, "state": {**scope.get("state", {}), **state}}


class _Stream:
    """An answer on its way. One that goes on ends when its key does."""

    def __init__(self, gate: Gate, presented: Presented, send: Send, limit: asyncio.Timeout) -> None:
        """Send by `send`; when `limit` is over, the application is cancelled."""
        self._gate = gate
        self._presented = presented
        self._send = send
        self._limit = limit
        self._checked_at = _now()
        self._ended = False

    async def send(self, part: Message) -> None:
        """Send a part of an answer. Of one that goes on, ask now and then whether it may."""
        goes_on = part["type"] == "http.response.body" and part.get("more_body", False)
        if goes_on and _now() - self._checked_at >= FRESH_S:
            self._checked_at = _now()
            await self._check()
        if not self._ended:
            await self._send(part)

    async def _check(self) -> None:
        try:
            await self._gate.recognise(self._presented)
        except TryAgainLater:
            return
        except Unauthorized:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            self._limit.reschedule(_now())


def _now() -> float:
    return asyncio.get_running_loop().time()
