"""What `/v1` answers, kept in a dictionary: enough of it for whoever tests a client. No time passes in it.

How a job goes is said by its handler: `sleep` finishes, `fails` fails, `hangs` never ends, `later` waits.
"""

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import httpx

AT = "2026-01-01T00:00:{:02d}Z"

_ENDS = {
    "sleep": ("finished", {"sleep_time_used": 20}, None),
    "fails": ("failed", None, {"type": "ValueError", "message": "no such file"}),
}

FINAL = {"finished", "failed", "cancelled"}


class Refusal(Exception):
    """A problem document."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.document = {"type": "about:blank", "status": status, "code": code, "detail": detail, **more}


class FakeApi:
    """Answers requests; give it to httpx as `transport()`. `asked` has every request."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.deliveries: dict[str, dict[str, Any]] = {}
        self.pools = {"default": a_pool("default"), "gpu": a_pool("gpu", present=0)}
        #: Without this in `Authorization` all under `/v1` is a 401.
        self.key: str | None = None
        #: What is answered before anything else, in this order.
        self.first: list[httpx.Response | BaseException] = []
        #: Whether streams of events can be had.
        self.streams = True
        #: Handlers beside those above, and how their jobs end.
        self.more_handlers: dict[str, tuple[str, Any, Any]] = {}
        self._numbers = itertools.count(1)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.asked]

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.asked if request.content]

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.first:
            early = self.first.pop(0)
            if isinstance(early, BaseException):
                raise early
            return early
        try:
            self._check_key(request)
            return self._route(request)
        except Refusal as refusal:
            return httpx.Response(
                refusal.status,
                content=json.dumps(refusal.document),
                headers={"content-type": "application/problem+json"},
            )

    def _check_key(self, request: httpx.Request) -> None:
        given = request.headers.get("authorization")
        if self.key and request.url.path.startswith("/v1/") and given != f"Bearer {self.key}":
            raise Refusal(401, "unauthorized", "An API key is needed.")

    def _route(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        for method, pattern, serve in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == request.method:
                return serve(self, request, *found.groups())
        raise Refusal(404, "not_found", "Nothing is served at this path.")

    # Jobs ---------------------------------------------------------------------------------------

    def submit(self, request: httpx.Request) -> httpx.Response:
        return self._admit(json.loads(request.content))

    def _admit(self, asked: dict[str, Any]) -> httpx.Response:
        if asked.get("handler", "sleep") not in {*self.ends, "hangs"}:
            raise Refusal(404, "unknown_handler", "No handler has this name.", handlers=["sleep", "fails"])
        last = self.newest_of(asked["object_id"])
        if last and asked.get("on_conflict") == "attach":
            return httpx.Response(200, json=last)
        if last and asked.get("on_conflict", "reject") == "reject":
            raise Refusal(
                409,
                "rerun_window",
                "The object had a job within its rerun window.",
                job_id=last["id"],
                job_status=last["status"],
                job=last,
                retry_after=300,
            )
        job = a_job(f"job-{next(self._numbers)}", **asked)
        self.jobs[job["id"]] = job
        return httpx.Response(201, json=job, headers={"location": f"/v1/jobs/{job['id']}"})

    @property
    def ends(self) -> dict[str, tuple[str, Any, Any]]:
        return _ENDS | self.more_handlers

    def newest_of(self, object_id: str) -> dict[str, Any] | None:
        return next((job for job in self.newest() if job["object_id"] == object_id), None)

    def newest(self) -> list[dict[str, Any]]:
        return list(reversed(self.jobs.values()))

    def job(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.jobs:
            raise Refusal(404, "unknown_job", f"There is no job with the id {job_id}.")
        return self.jobs[job_id]

    def end(self, job: dict[str, Any]) -> None:
        """Let a job end, if it is one that does."""
        if job["status"] not in FINAL and job["handler"] in self.ends:
            status, result, error = self.ends[job["handler"]]
            job |= {"status": status, "result": result, "error": error, "attempt": 1}
            job |= {"started_at": AT.format(1), "ended_at": AT.format(21), "progress": None}

    def get(self, request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.job(job_id)
        if "wait" in request.url.params:
            self.end(job)
        return httpx.Response(200, json=job)

    def search(self, request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        found = [
            job
            for job in self.newest()
            if (not asked.get_list("status") or job["status"] in asked.get_list("status"))
            and asked.get("handler", job["handler"]) == job["handler"]
            and asked.get("object_id", job["object_id"]) == job["object_id"]
            and {*asked.get_list("label")} <= {f"{name}={value}" for name, value in job["labels"].items()}
            and asked.get("accepted_after", "") <= job["accepted_at"]
        ]
        limit = int(asked["limit"])
        return httpx.Response(200, json={"jobs": found[:limit], "next_cursor": None})

    def cancel(self, request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.job(job_id)
        if job["status"] in FINAL:
            told = f"The job has ended already: it is {job['status']}."
            raise Refusal(409, "already_ended", told, job_id=job_id, job_status=job["status"])
        reason = json.loads(request.content or b"{}").get("reason", "cancelled over HTTP")
        job |= {"status": "cancelled", "error": {"type": "Cancelled", "message": reason}}
        return httpx.Response(200, json=job)

    def rerun(self, request: httpx.Request, job_id: str) -> httpx.Response:
        asked = json.loads(request.content or b"{}")
        conflict = "after" if asked.pop("force", False) else asked.pop("on_conflict", "reject")
        kept = ("object_id", "handler", "payload", "labels", "priority")
        return self._admit({name: self.job(job_id)[name] for name in kept} | {"on_conflict": conflict})

    def attempts(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        self.job(job_id)
        lost = {"attempt": 1, "worker": "hasty-worker-default-0", "node": "node-1", "pid": 4711, "boot": 1}
        lost |= {"started_at": AT.format(1), "ended_at": AT.format(5), "outcome": "lost", "cause": "killed"}
        runs = {"attempt": 2, "worker": "hasty-worker-default-1", "node": "node-1", "pid": 4712, "boot": 2}
        runs |= {"started_at": AT.format(6), "ended_at": None, "outcome": "running", "cause": None}
        return httpx.Response(200, json={"attempts": [lost, runs]})

    def events_of(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        job = self.job(job_id)
        self.end(job)
        return self._stream([job])

    def events(self, request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        return self._stream(
            [job for job in self.newest() if asked.get("object_id", job["object_id"]) == job["object_id"]]
        )

    def _stream(self, jobs: list[dict[str, Any]]) -> httpx.Response:
        if not self.streams:
            raise Refusal(404, "not_found", "Nothing is served at this path.")
        numbers = itertools.count(1)
        events = [event for job in jobs for event in happened(job, numbers)]
        return httpx.Response(
            200, content=b": \n\n" + b"".join(events), headers={"content-type": "text/event-stream"}
        )

    # The rest -----------------------------------------------------------------------------------

    def object(self, _request: httpx.Request, object_id: str) -> httpx.Response:
        found = [job for job in self.newest() if job["object_id"] == object_id]
        if not found:
            raise Refusal(404, "unknown_object", f"There is no job for the object {object_id}.")
        state = {"object_id": object_id, "runs": len(found), "opens_at": AT.format(59), "open": False}
        return httpx.Response(
            200, json=state | {"retry_after": 59, "last_job": found[0], "waiting_job": None}
        )

    def handlers(self, _request: httpx.Request) -> httpx.Response:
        told = {"name": "sleep", "pool": "default", "timeout": 46, "max_timeout": 3600, "rerun_window": 300}
        told |= {"retries": 0, "max_crashes": 3, "payload_schema": None, "description": "Sleep.\nLong."}
        return httpx.Response(200, json={"handlers": [told]})

    def show_pools(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"generation": 1, "pools": list(self.pools.values())})

    def scale(self, request: httpx.Request, name: str) -> httpx.Response:
        if name not in self.pools:
            raise Refusal(404, "unknown_pool", f"There is no pool {name!r}.")
        workers = json.loads(request.content)["workers"]
        if workers == 0:
            errors = [{"field": "workers", "message": "must be a whole number from 1 to 10000, or auto"}]
            raise Refusal(422, "invalid_request", "workers: must be from 1", errors=errors)
        pinned = workers != "auto"
        self.pools[name] |= {"pinned": pinned, "workers": workers if pinned else 2}
        return httpx.Response(200, json=self.pools[name])

    def create_schedule(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        made = {"timezone": "UTC", "missed": "skip", "paused": False, "cron": None, "interval": None} | asked
        name = made["name"]
        if name in self.schedules and self.schedules[name]["job"] != made["job"]:
            raise Refusal(409, "schedule_exists", f"There is another schedule {name}.")
        self.schedules[name] = made | {"next_at": AT.format(30), "last": None, "created_at": AT.format(0)}
        return httpx.Response(201, json=self.schedules[name])

    def list_schedules(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"schedules": list(self.schedules.values()), "next_cursor": None})

    def _schedule(self, name: str) -> dict[str, Any]:
        if name not in self.schedules:
            raise Refusal(404, "unknown_schedule", f"There is no schedule {name}.")
        return self.schedules[name]

    def switch_schedule(self, _request: httpx.Request, name: str, to: str) -> httpx.Response:
        found = self._schedule(name)
        found |= {"paused": to == "pause", "next_at": None if to == "pause" else AT.format(30)}
        return httpx.Response(200, json=found)

    def delete_schedule(self, _request: httpx.Request, name: str) -> httpx.Response:
        self._schedule(name)
        del self.schedules[name]
        return httpx.Response(204)

    def show_deliveries(self, _request: httpx.Request, job_id: str) -> httpx.Response:
        if not self.job(job_id)["webhook"]:
            raise Refusal(404, "not_found", "The job has no webhook.")
        one = {"at": AT.format(22), "attempt": 1, "status_code": 503, "error": None, "delivered": False}
        two = {
            "at": AT.format(27),
            "attempt": 2,
            "status_code": None,
            "error": "timed out",
            "delivered": False,
        }
        return httpx.Response(
            200, json={"deliveries": [one, two], "next_at": AT.format(40), "state": "pending"}
        )

    def health(self, _request: httpx.Request, page: str) -> httpx.Response:
        told = {"healthz": "ok", "readyz": "ready"}
        return httpx.Response(200, json={"message": told[page]}, headers={"date": DATE})

    def openapi(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"openapi": "3.1.0", "info": {"version": "1"}})


DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


def a_job(job_id: str, object_id: str, handler: str = "sleep", **said: Any) -> dict[str, Any]:
    """Return a job as `/v1` shows it."""
    webhook = said.pop("webhook", None)
    said.pop("on_conflict", None)
    delayed = said.pop("delay", None) or said.get("run_at")
    job: dict[str, Any] = {
        "id": job_id,
        "object_id": object_id,
        "handler": handler,
        "run": 1,
        "status": "scheduled" if delayed else "queued",
        "attempt": 0,
        "payload": None,
        "result": None,
        "error": None,
        "progress": None,
        "run_at": None,
        "follows": None,
        "priority": 0,
        "timeout": 46,
        "pool": "default",
        "worker": None,
        "labels": {},
        "webhook": webhook["url"] if webhook else None,
        "accepted_at": AT.format(0),
        "started_at": None,
        "ended_at": None,
        "links": {"self": f"/v1/jobs/{job_id}"},
    }
    return job | {name: value for name, value in said.items() if value is not None}


def a_pool(name: str, present: int = 2) -> dict[str, Any]:
    """Return a pool as `/v1` shows it."""
    numbers = {"min_workers": 2, "max_workers": 2, "workers": 2, "present": present, "outdated": 0}
    return {"name": name, "pinned": False, "running": 3, "queued": 0, "oldest_wait_s": 0.0, **numbers}


def happened(job: dict[str, Any], numbers: "itertools.count[int]") -> list[bytes]:
    """Return the events of a job, as a stream has them."""
    about = {name: job[name] for name in ("object_id", "handler", "attempt")} | {"job_id": job["id"]}
    half = {"at": AT.format(5), "fraction": 0.5, "message": "half of it"}
    course = [("queued", "queued", None), ("running", "running", None), ("progress", "running", half)]
    if job["status"] in FINAL:
        course.append((job["status"], job["status"], None))
    events = []
    for kind, status, progress in course:
        number, name = next(numbers), f"job.{kind}"
        # There may be more of them than a minute has seconds.
        told = {"id": str(number), "type": name, "at": AT.format(number % 60), "status": status}
        told |= about | {"progress": progress, "error": job["error"] if status == job["status"] else None}
        events.append(f"id: {number}\nevent: {name}\ndata: {json.dumps(told)}\n\n".encode())
    return events


_ROUTES: list[tuple[str, str, Callable[..., httpx.Response]]] = [
    ("POST", "/v1/jobs", FakeApi.submit),
    ("GET", "/v1/jobs", FakeApi.search),
    ("GET", "/v1/jobs/([^/]+)", FakeApi.get),
    ("POST", "/v1/jobs/([^/]+)/cancel", FakeApi.cancel),
    ("POST", "/v1/jobs/([^/]+)/rerun", FakeApi.rerun),
    ("GET", "/v1/jobs/([^/]+)/attempts", FakeApi.attempts),
    ("GET", "/v1/jobs/([^/]+)/events", FakeApi.events_of),
    ("GET", "/v1/jobs/([^/]+)/deliveries", FakeApi.show_deliveries),
    ("GET", "/v1/events", FakeApi.events),
    ("GET", "/v1/objects/(.+)", FakeApi.object),
    ("GET", "/v1/handlers", FakeApi.handlers),
    ("GET", "/v1/pools", FakeApi.show_pools),
    ("PATCH", "/v1/pools/([^/]+)", FakeApi.scale),
    ("POST", "/v1/schedules", FakeApi.create_schedule),
    ("GET", "/v1/schedules", FakeApi.list_schedules),
    ("POST", "/v1/schedules/([^/]+)/(pause|resume)", FakeApi.switch_schedule),
    ("DELETE", "/v1/schedules/([^/]+)", FakeApi.delete_schedule),
    ("GET", "/(healthz|readyz)", FakeApi.health),
    ("GET", "/openapi.json", FakeApi.openapi),
]
