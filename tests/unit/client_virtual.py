"""A whole hasty on virtual time, for clients that know nothing of it: they block, or have another loop."""

import asyncio
import itertools
import threading

import httpx
from fastapi import FastAPI

from hasty.api.problems import HANDLERS
from hasty.api.scheduling import Scheduling
from hasty.api.v1.schedules import add_schedules
from hasty.store.memory import MemoryScheduleStore
from hasty.testing import VirtualLoop
from tests.unit.system import System


def with_schedules(system):
    """Return the application of a system, and its schedules."""
    numbers = itertools.count(1)
    scheduling = Scheduling(
        MemoryScheduleStore(),
        system.jobs,
        system._clock,
        check=system.gateway().check,
        mint=lambda: f"uid-{next(numbers)}",
    )
    schedules, others = FastAPI(redirect_slashes=False, exception_handlers=HANDLERS), system.app()
    add_schedules(schedules, scheduling)

    async def app(scope, receive, send):
        there = schedules if scope["path"].startswith("/v1/schedules") else others
        await there(scope, receive, send)

    return app


class Wire(httpx.AsyncBaseTransport):
    """Asks an application in this loop, and hands on each piece of its answer as it comes."""

    def __init__(self, app):
        self._app = app

    async def handle_async_request(self, request):
        url, body = request.url, await request.aread()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "server": (url.host, url.port or 80),
            "client": ("client", 1),
        }
        return await _Exchange().begin(self._app, scope, body)


class _Exchange(httpx.AsyncByteStream):
    """One request, and its answer."""

    def __init__(self):
        self._sent, self._asked = asyncio.Queue(), False

    async def begin(self, app, scope, body):
        async def receive():
            if self._asked:
                await asyncio.Event().wait()
            self._asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        self._task = asyncio.ensure_future(app(scope, receive, self._sent.put))
        self._task.add_done_callback(lambda _task: self._sent.put_nowait(None))
        start = await self._sent.get()
        if start is None:
            await self._task
        return httpx.Response(start["status"], headers=start["headers"], stream=self)

    async def __aiter__(self):
        while (message := await self._sent.get()) is not None:
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def aclose(self):
        self._task.cancel()
        await asyncio.wait({self._task})


class Served:
    """A hasty that makes steps only while somebody waits for an answer or lets time pass.

    It is the clock of a `hasty.Client`.
    """

    def __init__(self, **settings):
        self.loop, self._one_at_a_time = VirtualLoop(), threading.Lock()

        async def start():
            system = System(**settings)
            await system.serve()
            return system

        self.system = self._run(start())
        self._app = self._run(self._open())

    async def _open(self):
        return Wire(with_schedules(self.system))

    def _run(self, coroutine):
        with self._one_at_a_time:
            return self.loop.run_until_complete(coroutine)

    def monotonic(self):
        return self.loop.time()

    def sleep(self, seconds):
        self._run(asyncio.sleep(seconds))

    def close(self):
        self.loop.end()
        self.loop.close()

    def answer(self, request):
        """Return what the application answers, read to its end."""

        async def ask():
            response = await self._app.handle_async_request(request)
            content = b"".join([piece async for piece in response.stream])
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        return self._run(ask())

    @property
    def wire(self):
        return httpx.MockTransport(self.answer)

    @property
    def async_wire(self):
        async def answer(request):
            return await asyncio.to_thread(self.answer, request)

        return httpx.MockTransport(answer)

    @property
    def async_clock(self):
        return _AsyncClock(self)


class _AsyncClock:
    def __init__(self, served):
        self._served = served

    def monotonic(self):
        return self._served.monotonic()

    async def sleep(self, seconds):
        await asyncio.to_thread(self._served.sleep, seconds)
