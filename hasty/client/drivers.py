"""Who makes the steps: the same, once for callers that block and once for those that await."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

import httpx

from hasty.client.address import Address
from hasty.client.steps import Call, Course, Item, Now, Open, Pause, Read, Series, Step

Value = TypeVar("Value")

#: A connection is made within this, in seconds, or not at all.
_CONNECT_S = 5.0

#: Any number of calls may wait for a job at the same time, each on a connection of its own.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)


class Clock(Protocol):
    """What a blocking client knows of time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class AsyncClock(Protocol):
    """What an awaiting client knows of time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class LoopClock:
    """Time as the running event loop has it."""

    def monotonic(self) -> float:
        """See `AsyncClock.monotonic`."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """See `AsyncClock.sleep`."""
        await asyncio.sleep(seconds)


def options(address: Address, api_key: str | None) -> dict[str, Any]:
    """Return how either client of httpx is made."""
    headers = {"User-Agent": "hasty-client", "Accept": "application/json"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "base_url": address.url,
        "headers": headers,
        "trust_env": not address.here,
        "limits": _LIMITS,
        "follow_redirects": False,
    }


def _request(http: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    timeout = httpx.Timeout(
        call.within_s, connect=min(_CONNECT_S, call.within_s), read=call.within_s + call.held_s
    )
    kind = {} if call.body is None else {"Content-Type": "application/json"}
    return http.build_request(
        call.method,
        call.path,
        params=list(call.query) or None,
        content=call.body,
        headers={**kind, **call.headers},
        timeout=timeout,
    )


class Driver:
    """Makes steps, and blocks until each is made."""

    def __init__(self, http: httpx.Client, clock: Clock | None) -> None:
        """Send by `http`; unless a clock is given, time is the real one."""
        self._http = http
        self._clock: Clock = clock or time

    def run(self, course: Course[Value]) -> Value:
        """Return what a course leads to."""
        hands, result = _Hands(self._http, self._clock), None
        while True:
            try:
                step = course.send(result)
            except StopIteration as end:
                found: Value = end.value
                return found
            result = hands.make(step)

    def iterate(self, series: Series[Value]) -> Iterator[Value]:
        """Yield what a series leads to."""
        hands, result = _Hands(self._http, self._clock), None
        with contextlib.closing(hands), contextlib.closing(series):
            while True:
                try:
                    step = series.send(result)
                except StopIteration:
                    return
                if isinstance(step, Item):
                    yield step.value
                result = None if isinstance(step, Item) else hands.make(step)


class _Hands:
    """Make one step after another, and hold what is open between them."""

    def __init__(self, http: httpx.Client, clock: Clock) -> None:
        self._http, self._clock = http, clock
        self._open: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def make(self, step: Step) -> Any:
        match step:
            case Now():
                return self._clock.monotonic()
            case Pause(seconds):
                return self._clock.sleep(seconds)
            case Call():
                return self._answered(lambda: self._http.send(_request(self._http, step)))
            case Open(call):
                return self._answered(lambda: self._begin(call))
            case Read():
                return self._answered(lambda: next(self._chunks, b""))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _begin(self, call: Call) -> httpx.Response:
        self.close()
        self._open = response = self._http.send(_request(self._http, call), stream=True)
        if response.is_success:
            self._chunks = response.iter_bytes()
        else:
            response.read()
        return response

    @staticmethod
    def _answered(ask: Callable[[], Value]) -> Value | httpx.RequestError:
        try:
            return ask()
        except httpx.RequestError as error:
            return error


class AsyncDriver:
    """Makes steps, and lets others run meanwhile."""

    def __init__(self, http: httpx.AsyncClient, clock: AsyncClock | None) -> None:
        """Send by `http`; unless a clock is given, time is that of the event loop."""
        self._http = http
        self._clock: AsyncClock = clock or LoopClock()

    async def run(self, course: Course[Value]) -> Value:
        """Return what a course leads to."""
        hands, result = _AsyncHands(self._http, self._clock), None
        while True:
            try:
                step = course.send(result)
            except StopIteration as end:
                found: Value = end.value
                return found
            result = await hands.make(step)

    async def iterate(self, series: Series[Value]) -> AsyncIterator[Value]:
        """Yield what a series leads to."""
        hands, result = _AsyncHands(self._http, self._clock), None
        async with contextlib.aclosing(hands):
            with contextlib.closing(series):
                while True:
                    try:
                        step = series.send(result)
                    except StopIteration:
                        return
                    if isinstance(step, Item):
                        yield step.value
                    result = None if isinstance(step, Item) else await hands.make(step)


class _AsyncHands:
    """See `_Hands`."""

    def __init__(self, http: httpx.AsyncClient, clock: AsyncClock) -> None:
        self._http, self._clock = http, clock
        self._open: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def make(self, step: Step) -> Any:
        match step:
            case Now():
                return self._clock.monotonic()
            case Pause(seconds):
                return await self._clock.sleep(seconds)
            case Call():
                return await self._answered(self._http.send(_request(self._http, step)))
            case Open(call):
                return await self._answered(self._begin(call))
            case Read():
                return await self._answered(self._read())

    async def aclose(self) -> None:
        if self._open is not None:
            await self._open.aclose()
            self._open = None

    async def _begin(self, call: Call) -> httpx.Response:
        await self.aclose()
        self._open = response = await self._http.send(_request(self._http, call), stream=True)
        if response.is_success:
            self._chunks = response.aiter_bytes()
        else:
            await response.aread()
        return response

    async def _read(self) -> bytes:
        assert self._chunks is not None
        return await anext(self._chunks, b"")

    @staticmethod
    async def _answered(asked: Awaitable[Value]) -> Value | httpx.RequestError:
        try:
            return await asked
        except httpx.RequestError as error:
            return error
