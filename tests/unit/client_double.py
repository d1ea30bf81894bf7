"""Both clients, each with a hasty that answers by a script, on a clock that only they move."""

import json
from collections import deque
from contextlib import contextmanager

import httpx
import pytest

from hasty.client import AsyncClient, Client
from hasty.testing import run_virtually

URL = "http://127.0.0.1:8000"


class FakeClock:
    """Sleeping takes no time, and is written down."""

    def __init__(self):
        self.now, self.slept = 1_000.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class AsyncFakeClock(FakeClock):
    async def sleep(self, seconds):
        FakeClock.sleep(self, seconds)


class Hasty:
    """Gives one answer after the other: a response, an error, or what a function makes of the request."""

    def __init__(self, *script):
        self.script, self.requests = deque(script), []

    def __call__(self, request):
        self.requests.append(request)
        if not self.script:
            pytest.fail(f"nobody expected {request.method} {request.url}")
        answer = self.script.popleft()
        if callable(answer) and not isinstance(answer, type):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, type):
            raise answer("no luck")
        return _again(answer)

    @property
    def last(self):
        return self.requests[-1]


def _again(response):
    """Return the same response for another client: what was read is bound to the one that read it."""
    if "pieces" in response.extensions:
        return response
    headers = [each for each in response.headers.raw if each[0].lower() != b"content-length"]
    return httpx.Response(response.status_code, headers=headers, content=response.content)


class Blocking:
    """Calls a Client."""

    clock_class = FakeClock

    def __init__(self, script, options):
        self.clock, self.hasty = self.clock_class(), Hasty(*script)
        self.client = self.make({"url": URL, **options})

    def make(self, options):
        return Client(transport=httpx.MockTransport(self.hasty), clock=self.clock, **options)

    def call(self, name, *args, **kwargs):
        return getattr(self.client, name)(*args, **kwargs)

    def take(self, name, *args, most=None, **kwargs):
        """Return what an iterator yields, so many at most; it is closed then."""
        found, iterator = [], getattr(self.client, name)(*args, **kwargs)
        for each in iterator:
            found.append(each)
            if len(found) == most:
                break
        iterator.close()
        return found


class Awaiting(Blocking):
    """Calls an AsyncClient."""

    clock_class = AsyncFakeClock

    def make(self, options):
        return AsyncClient(transport=httpx.MockTransport(self.hasty), clock=self.clock, **options)

    def call(self, name, *args, **kwargs):
        return run_virtually(getattr(self.client, name)(*args, **kwargs))

    def take(self, name, *args, most=None, **kwargs):
        async def run():
            found, iterator = [], getattr(self.client, name)(*args, **kwargs)
            async for each in iterator:
                found.append(each)
                if len(found) == most:
                    break
            await iterator.aclose()
            return found

        return run_virtually(run())


#: For a test that holds for both.
both = pytest.mark.parametrize("kind", [Blocking, Awaiting], ids=["Client", "AsyncClient"])


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces; an error among them breaks it off there."""

    def __init__(self, *pieces):
        self.pieces, self.closed = pieces, False

    def __iter__(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self):
        for piece in self:
            yield piece

    def close(self):
        self.closed = True

    async def aclose(self):
        self.closed = True


def stream(*pieces):
    """Answer with a stream of events."""
    body = Pieces(*pieces)
    headers = {"Content-Type": "text/event-stream"}
    return httpx.Response(200, headers=headers, stream=body, extensions={"pieces": body})


def event(number, kind="job.running", job_id="job-1", **more):
    """Say an event as hasty does."""
    said = {"id": str(number), "type": kind, "at": "2026-01-02T03:04:05Z", "job_id": job_id}
    said |= {"object_id": "video-1", "handler": "sleep", "status": kind.removeprefix("job."), "attempt": 1}
    said |= {"progress": None, "error": None, **more}
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(said)}\n\n".encode()


def job(status="queued", **more):
    """Show a job as hasty does."""
    return {
        "id": "job-1",
        "object_id": "video-1",
        "handler": "sleep",
        "run": 1,
        "status": status,
        "attempt": 0,
        "payload": None,
        "result": None,
        "error": None,
        "progress": None,
        "run_at": None,
        "follows": None,
        "priority": 0,
        "timeout": 46.0,
        "pool": "default",
        "worker": None,
        "labels": {},
        "webhook": None,
        "accepted_at": "2026-01-02T03:04:05.678000Z",
        "started_at": None,
        "ended_at": None,
        "links": {"self": "/v1/jobs/job-1"},
    } | more


def answer(document, status=200, **headers):
    return httpx.Response(
        status, json=document, headers={name.replace("_", "-"): said for name, said in headers.items()}
    )


def problem(status, code, retry_after=None, **more):
    """Answer with a problem document."""
    said = {"type": "about:blank", "title": "", "status": status, "code": code, "detail": f"It is {code}."}
    headers = {"Content-Type": "application/problem+json"}
    if retry_after is not None:
        said["retry_after"] = headers["Retry-After"] = retry_after
        headers["Retry-After"] = str(retry_after)
    return httpx.Response(status, content=json.dumps(said | more), headers=headers)


@contextmanager
def environment(monkeypatch, **variables):
    with monkeypatch.context() as patched:
        for name in ("HASTY_URL", "HASTY_API_KEY"):
            patched.delenv(name, raising=False)
        for name, value in variables.items():
            patched.setenv(name, value)
        yield
