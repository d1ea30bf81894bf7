"""Many jobs in as few requests as they fit into."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import BaseModel

from hasty.client.models import Job, Json
from hasty.client.patience import Limits, Patience
from hasty.client.problems import Failure, failure, refusal
from hasty.client.questions import KEY_LIMIT, Question, checked_key, post_bytes, reading
from hasty.client.requests import JobRequest, as_json
from hasty.client.steps import Answer, Course, Now, Pause
from hasty.errors import BodyTooLarge, HastyError, InvalidRequest, NotHasty, TryAgainLater

#: One request has at most so many jobs, and bytes.
MOST_JOBS, MOST_BYTES = 1_000, 8 * 1024 * 1024

#: Each batch has a key of its own, which is the caller's with a number behind it.
_KEY_LIMIT = KEY_LIMIT - 15

_BEFORE, _BETWEEN, _AFTER = b'{"jobs":[', b",", b"]}"

#: What a job cannot be, as it would be told over HTTP.
Outcome = Job | HastyError


class Told(BaseModel):
    """What became of one job of a batch."""

    status: int
    job: Job | None = None
    problem: Json = None

    def outcome(self) -> Outcome:
        """Return the job, or why there is none."""
        return self.job or refusal(self.status, self.problem)


class Outcomes(BaseModel):
    """What became of each, in their order."""

    outcomes: list[Told]


@dataclass(slots=True)
class Batch:
    """Jobs for one request; and, each in its place, those that cannot be sent at all."""

    items: list[bytes | HastyError] = field(default_factory=list)
    jobs: int = 0
    size: int = len(_BEFORE) + len(_AFTER) - len(_BETWEEN)

    def has_room_for(self, job: bytes) -> bool:
        """Return whether one more fits in."""
        return self.jobs < MOST_JOBS and self.size + len(_BETWEEN) + len(job) <= MOST_BYTES

    def add(self, item: bytes | HastyError) -> None:
        """Put it behind the others."""
        self.items.append(item)
        if isinstance(item, bytes):
            self.jobs += 1
            self.size += len(_BETWEEN) + len(item)

    def body(self) -> bytes:
        """Return what is sent."""
        return _BEFORE + _BETWEEN.join(item for item in self.items if isinstance(item, bytes)) + _AFTER

    def merged(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes of what was sent, and between them of what was not."""
        told = iter(outcomes)
        return [next(told) if isinstance(item, bytes) else item for item in self.items]


def submit_many(
    requests: Iterable[JobRequest | Mapping[str, Any]], key: str | None, limits: Limits
) -> Course[list[Outcome]]:
    """Lead to the outcome of each request, in order: the job, or the error that tells why there is none.

    Raises the error of the first batch where that fails as a whole: then nothing is known to be
    accepted. Where a later one does, it is the outcome of its jobs and of all behind them, which are
    not sent. The same requests again under the same key have the same outcomes, where they were accepted.
    """
    key = checked_key(key, _KEY_LIMIT) if key is not None else str(uuid.uuid4())
    outcomes: list[Outcome] = []
    failed: HastyError | None = None
    for number, batch in enumerate(batches(requests)):
        told: list[Outcome] = []
        if failed is None:
            try:
                told = yield from _sent(batch, f"{key}.{number}", limits)
            except HastyError as error:
                if number == 0:
                    raise
                failed = error
        outcomes += batch.merged(told if failed is None else [failed] * batch.jobs)
    return outcomes


def batches(requests: Iterable[JobRequest | Mapping[str, Any]]) -> Iterator[Batch]:
    """Cut requests into batches: the same requests are always cut at the same places."""
    batch = Batch()
    for request in requests:
        item = _encoded(request)
        if isinstance(item, bytes) and not batch.has_room_for(item):
            yield batch
            batch = Batch()
        batch.add(item)
    if batch.items:
        yield batch


def _encoded(request: JobRequest | Mapping[str, Any]) -> bytes | HastyError:
    try:
        job = as_json(JobRequest.of(request).body())
    except InvalidRequest as error:
        return error
    return job if Batch().has_room_for(job) else BodyTooLarge("The job takes more than 8 MiB of JSON.")


def _sent(batch: Batch, key: str, limits: Limits) -> Course[list[Outcome]]:
    """Lead to the outcomes of what a batch sends. It is sent again also for those who are to come back.

    Of a repeat each accepted job has its first outcome; so none is lost where a later try fails.
    """
    if not batch.jobs:
        return []
    question = Question(post_bytes("/v1/jobs:batch", batch.body(), key), reading(Outcomes))
    patience, outcomes = Patience(limits, (yield Now())), list[Outcome]()
    while True:
        answer: Answer = yield patience.fitted(question.call, (yield Now()))
        failed = failure(answer)
        if isinstance(answer, httpx.Response) and failed is None:
            outcomes = _of_each(batch, question.read(answer))
            failed = _not_yet(outcomes)
        if failed is None:
            return outcomes
        wait_s = patience.next_wait_s(failed, (yield Now()))
        if wait_s is not None:
            yield Pause(wait_s)
        elif outcomes:
            return outcomes
        else:
            raise failed.error


def _of_each(batch: Batch, told: Outcomes) -> list[Outcome]:
    if len(told.outcomes) != batch.jobs:
        raise NotHasty(f"{batch.jobs} jobs were sent, and {len(told.outcomes)} outcomes were answered")
    return [each.outcome() for each in told.outcomes]


def _not_yet(outcomes: Iterable[Outcome]) -> Failure | None:
    """Return when to come back for those that are told to."""
    later = [outcome for outcome in outcomes if isinstance(outcome, TryAgainLater)]
    return Failure(later[0], True, max(error.retry_after_s for error in later)) if later else None
