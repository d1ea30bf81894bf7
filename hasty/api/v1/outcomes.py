"""What became of an order, as `/v1` tells it: alone, or as one of many."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Response
from fastapi.responses import JSONResponse

from hasty.api.gateway import Ordered
from hasty.api.order import Order
from hasty.api.problems import error_document, refusal, respond
from hasty.api.schemas import JobView, path_of
from hasty.errors import FixTheRequest, HastyError, TryAgainLater, UnknownJob
from hasty.job import Job, Json
from hasty.messages import Accepted, Attached, Refused

#: How a 200 in the place of a 201 is described.
ATTACHED: dict[int | str, dict[str, Any]] = {
    200: {"model": JobView, "description": "The job that was there already, as `on_conflict` asked for it."}
}


#: Finds a job. Raises UnknownJob, TryAgainLater.
Find = Callable[[str], Awaitable[Job]]


class Outcome(NamedTuple):
    """A job, or why there is none."""

    status: int
    job: JobView | None = None
    problem: dict[str, Json] | None = None
    #: Whether the answer is an earlier one, given again.
    replayed: bool = False


async def outcome(find: Find, order: Order | HastyError, answer: Ordered) -> Outcome:
    """Tell what became of an order; a job that was there before as `find` finds it. Raises what that does."""
    match answer:
        case Accepted() if isinstance(order, Order):
            return Outcome(201, JobView.accepted(answer, order), replayed=answer.replayed)
        case Attached():
            found = await find(answer.job_id)
            return Outcome(200, JobView.of(found), replayed=answer.replayed)
        case FixTheRequest() | TryAgainLater():
            told = error_document(answer)
            return Outcome(told["status"], problem=told)
    assert isinstance(answer, Refused)
    told = refusal(answer, await _if_readable(find, answer.job_id))
    return Outcome(told["status"], problem=told)


async def _if_readable(find: Find, job_id: str) -> Job | None:
    """Return the job that stands in the way. A refusal is told also where it cannot be read now."""
    try:
        return await find(job_id)
    except (TryAgainLater, UnknownJob):
        return None


def respond_to(told: Outcome) -> Response:
    """Answer with what became of the only order of a request."""
    if told.job is None:
        return respond(told.problem or {})
    headers = {"Location": path_of(told.job.id)}
    if told.replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(told.job.model_dump(mode="json"), told.status, headers)
