"""Every request of the API: what is sent, and what its answer means."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal

from pydantic import BaseModel

from hasty.client.models import (
    Attempt,
    DeliveryLog,
    HandlerInfo,
    Job,
    Json,
    ObjectState,
    Pool,
    Schedule,
)
from hasty.client.questions import Question, checked_text, document, part, post, reading, reading_all
from hasty.client.requests import JobRequest, Moment, OnConflict, as_json, rfc3339
from hasty.client.steps import Call

#: A job, or its id.
JobId = str | Job


class JobPage(BaseModel):
    """A part of a list of jobs."""

    jobs: tuple[Job, ...]
    next_cursor: str | None = None


class SchedulePage(BaseModel):
    """A part of the list of schedules."""

    schedules: tuple[Schedule, ...]
    next_cursor: str | None = None


# Jobs --------------------------------------------------------------------------------------------


def submit(request: JobRequest, key: str | None) -> Question[Job]:
    """`POST /v1/jobs`."""
    return Question(post("/v1/jobs", request.body(), key), reading(Job))


def get_job(job: JobId, hold_s: float = 0) -> Question[Job]:
    """`GET /v1/jobs/{id}`, answered when the job has ended, but not after more than `hold_s` seconds.

    That is told in whole milliseconds.
    """
    hold_ms = int(hold_s * 1000)
    query = [("wait", f"{hold_ms / 1000:g}")] if hold_ms else []
    call = Call(method="GET", path=_of_job(job), query=query, held_s=hold_s)
    return Question(call, reading(Job))


def list_jobs(query: Sequence[tuple[str, str]], limit: int, cursor: str | None) -> Question[JobPage]:
    """`GET /v1/jobs`."""
    page = [*query, ("limit", str(limit)), *([("cursor", cursor)] if cursor else [])]
    return Question(Call(method="GET", path="/v1/jobs", query=page), reading(JobPage))


def chosen(
    *,
    status: str | Sequence[str],
    handler: str | None,
    object_id: str | None,
    labels: Mapping[str, str] | None,
    accepted_after: Moment | None,
    accepted_before: Moment | None,
) -> list[tuple[str, str]]:
    """Return the query that chooses jobs. Raises InvalidRequest."""
    plain = {"handler": handler, "object_id": object_id}
    times = {"accepted_after": accepted_after, "accepted_before": accepted_before}
    query = [
        *(("status", each) for each in ([status] if isinstance(status, str) else status)),
        *((name, value) for name, value in plain.items() if value is not None),
        *(("label", f"{name}={value}") for name, value in (labels or {}).items()),
        *((name, rfc3339(name, moment)) for name, moment in times.items() if moment is not None),
    ]
    return [(name, checked_text(name, value)) for name, value in query]


def cancel(job: JobId, reason: str | None) -> Question[Job]:
    """`POST /v1/jobs/{id}/cancel`."""
    body = {} if reason is None else {"reason": reason}
    return Question(post(_of_job(job) + "/cancel", body, None), reading(Job))


def rerun(job: JobId, force: bool, on_conflict: OnConflict, key: str | None) -> Question[Job]:
    """`POST /v1/jobs/{id}/rerun`."""
    said: dict[str, Json] = {"force": True} if force else {}
    if on_conflict != "reject":
        said["on_conflict"] = on_conflict
    return Question(post(_of_job(job) + "/rerun", said, key), reading(Job))


def attempts(job: JobId) -> Question[list[Attempt]]:
    """`GET /v1/jobs/{id}/attempts`."""
    return Question(Call(method="GET", path=_of_job(job) + "/attempts"), reading_all("attempts", Attempt))


def deliveries(job: JobId) -> Question[DeliveryLog]:
    """`GET /v1/jobs/{id}/deliveries`."""
    return Question(Call(method="GET", path=_of_job(job) + "/deliveries"), reading(DeliveryLog))


def events(job: JobId | None, object_id: str | None, handler: str | None) -> Call:
    """`GET /v1/jobs/{id}/events`, or `GET /v1/events`. Raises InvalidRequest."""
    if job is not None:
        return Call(method="GET", path=_of_job(job) + "/events")
    chosen = {"object_id": object_id, "handler": handler}
    query = [(name, checked_text(name, value)) for name, value in chosen.items() if value is not None]
    return Call(method="GET", path="/v1/events", query=query)


# What else there is ------------------------------------------------------------------------------


def get_object(object_id: str) -> Question[ObjectState]:
    """`GET /v1/objects/{object_id}`."""
    return Question(
        Call(method="GET", path=f"/v1/objects/{part('object_id', object_id)}"), reading(ObjectState)
    )


def handlers() -> Question[list[HandlerInfo]]:
    """`GET /v1/handlers`."""
    return Question(Call(method="GET", path="/v1/handlers"), reading_all("handlers", HandlerInfo))


def pools() -> Question[list[Pool]]:
    """`GET /v1/pools`."""
    return Question(Call(method="GET", path="/v1/pools"), reading_all("pools", Pool))


def scale(name: str, workers: int | Literal["auto"]) -> Question[Pool]:
    """`PATCH /v1/pools/{name}`."""
    body = as_json({"workers": workers})
    return Question(Call(method="PATCH", path=f"/v1/pools/{part('name', name)}", body=body), reading(Pool))


def ready() -> Question[dict[str, Json]]:
    """`GET /readyz`."""
    return Question(Call(method="GET", path="/readyz"), document)


# Schedules ---------------------------------------------------------------------------------------


def create_schedule(definition: Mapping[str, Json], job: JobRequest, key: str | None) -> Question[Schedule]:
    """`POST /v1/schedules`."""
    said = {name: value for name, value in definition.items() if value is not None}
    return Question(post("/v1/schedules", said | {"job": job.body()}, key), reading(Schedule))


def list_schedules(cursor: str | None) -> Question[SchedulePage]:
    """`GET /v1/schedules`."""
    query = [("cursor", cursor)] if cursor else []
    return Question(Call(method="GET", path="/v1/schedules", query=query), reading(SchedulePage))


def get_schedule(name: str) -> Question[Schedule]:
    """`GET /v1/schedules/{name}`."""
    return Question(Call(method="GET", path=_of_schedule(name)), reading(Schedule))


def switch_schedule(name: str, to: Literal["pause", "resume"]) -> Question[Schedule]:
    """`POST /v1/schedules/{name}/pause`, or `/resume`."""
    return Question(post(f"{_of_schedule(name)}/{to}", {}, None), reading(Schedule))


def delete_schedule(name: str) -> Question[None]:
    """`DELETE /v1/schedules/{name}`."""
    call = Call(method="DELETE", path=_of_schedule(name))
    return Question(call, lambda _response: None, done_already=HTTPStatus.NOT_FOUND)


def _of_job(job: JobId) -> str:
    return f"/v1/jobs/{part('job_id', job.id if isinstance(job, Job) else job)}"


def _of_schedule(name: str) -> str:
    return f"/v1/schedules/{part('name', name)}"
