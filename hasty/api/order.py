"""What a client orders: a job, and how it is to be had."""

import hashlib
import json
from datetime import datetime
from typing import NamedTuple

from hasty.handlers import SLEEP, Handler
from hasty.job import Json, Labels
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

    @property
    def fingerprint(self) -> str:
        """What is wanted, in short: the same for the same wish, whatever its key is."""
        told = json.dumps(self._replace(key=None), sort_keys=True, default=datetime.isoformat)
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()

    def request(self, job_id: str, handler: Handler) -> Request:
        """Return what the Registry is asked, under this job id."""
        return Request(
            job_id,
            self.object_id,
            self.handler,
            handler.timeout_s if self.timeout_s is None else self.timeout_s,
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
