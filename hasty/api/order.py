"""What a client orders: a job, and how it is to be had."""

import hashlib
import json
from datetime import datetime
from typing import NamedTuple, Self

from hasty.handlers import SLEEP, Handler
from hasty.job import Job, Json, Labels
from hasty.messages import OnConflict, Request


class Order(NamedTuple):
    """A job that a client wants."""

    object_id: str
    handler: str = SLEEP
    payload: Json = None
    #: Longest an attempt may run; None: as the handler says.
    timeout_s: float | None = None
    priority: int = 0
    #: Not before then, or that much later; at most one of the two.
    run_at: datetime | None = None
    delay_s: float | None = None
    labels: Labels = ()
    on_conflict: OnConflict = OnConflict.REJECT
    force: bool = False
    webhook: str | None = None
    #: The client's name for this request: whoever comes with it again is given the same answer.
    key: str | None = None
    #: What else was asked for in the same request, in short.
    batch: str = ""
    #: Whether an earlier job is to run once more: for no longer than its handler may now.
    again: bool = False

    @classmethod
    def once_more(cls, job: Job) -> Self:
        """Order the same work as that of an earlier job."""
        return cls(
            job.object_id,
            job.handler,
            job.payload,
            job.timeout_s,
            job.priority,
            labels=job.labels,
            webhook=job.webhook,
            again=True,
        )

    @property
    def fingerprint(self) -> str:
        """What is wanted, in short: the same for the same wish, whatever its key is.

        What is not asked for is not in it: a later release, which knows more wishes, finds the same.
        """
        wishes = {name: wish for name, wish in self._asdict().items() if wish != _UNSAID.get(name, ...)}
        wishes.pop("key", None)
        told = json.dumps(wishes, sort_keys=True, default=datetime.isoformat)
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()

    def _timeout_s(self, handler: Handler) -> float:
        if self.timeout_s is None:
            return handler.timeout_s
        return min(self.timeout_s, handler.longest_s) if self.again else self.timeout_s

    def request(self, job_id: str, handler: Handler) -> Request:
        """Return what the Registry is asked, under this job id."""
        return Request(
            job_id,
            self.object_id,
            self.handler,
            self._timeout_s(handler),
            handler.window,
            self.payload,
            self.priority,
            handler.pool,
            handler.queue_timeout_s,
            self.on_conflict,
            self.force,
            self.run_at,
            self.delay_s,
            self.labels,
            self.webhook,
            self.key,
            self.fingerprint if self.key is not None else None,
        )


_UNSAID = Order._field_defaults
