"""The jobs, as clients see them: what a store of them promises."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from hasty.dispatch import Mark, Postpone, Settle
from hasty.job import KEPT_AFTER_WINDOW, Job, Outcome, Work
from hasty.messages import Progressed
from hasty.pools import Plan, PoolPlan, Roster


class Found(NamedTuple):
    """What a sweep found."""

    works: tuple[Work, ...]
    #: Whether there is nothing behind them in the order.
    exhausted: bool


class Off(NamedTuple):
    """A job's turn does not come before `until`, and not before the end of the job it follows now."""

    job_id: str
    until: datetime
    follows: str | None


class Keyed(NamedTuple):
    """The answer that was given to whoever came with a key."""

    job: Job
    #: What was asked, in short.
    fingerprint: str
    #: Whether the job was made for it; otherwise it was there already.
    made: bool


class Attachment(NamedTuple):
    """A job that is there already is the answer to a request with a key."""

    key: str
    fingerprint: str
    job_id: str


#: So many keys one job can be the answer to; whoever comes later is answered, but not remembered.
KEYS_KEPT = 1_000


def settled_fields(outcome: Outcome) -> dict[str, Any]:
    """Return what settling changes in a job: all of the outcome, but the attempt only if one decided."""
    fields = outcome._asdict()
    if not outcome.attempt:
        for name in ("attempt", "started_at", "worker"):
            del fields[name]
    if outcome.opens_at is None:
        del fields["opens_at"]
    return fields


def kept_until(outcome: Outcome, until: datetime) -> datetime:
    """Return when a settled record may be forgotten: at `until`, unless its window asks for more."""
    return until if outcome.opens_at is None else max(until, outcome.opens_at + KEPT_AFTER_WINDOW)


class JobStore(Protocol):
    """The jobs, as clients see them."""

    async def prepare(self) -> None:
        """Create what the store needs (indexes). Idempotent; safe beside another prepare."""
        ...

    async def server_time(self) -> datetime:
        """Return the store's wall time. Proves that it answers."""
        ...

    async def newest(self, object_ids: Collection[str]) -> dict[str, Job]:
        """Return each object's job of the highest run, in brief; durable, never rolled back."""
        ...

    async def standing(self, below: Mapping[str, int]) -> dict[str, Job]:
        """Return each object's job of the highest run below this one that was not passed over; durable.

        See `Job.passed_over`. They come in brief. Each object is looked for by itself.
        """
        ...

    async def get(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return those of these jobs that exist; durable, never rolled back."""
        ...

    async def brief(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return those of these jobs that exist, as `get` does, but without payloads, results and keys.

        Those may weigh half a megabyte each.
        """
        ...

    async def existing(self, job_ids: Collection[str]) -> set[str]:
        """Return which of these jobs have a record, without reading them."""
        ...

    async def insert(self, jobs: Sequence[Job]) -> set[str]:
        """Insert each job unless its id, its (object, run) or its key is taken; return the ids that are new.

        When it returns, those are journaled on a majority. Of two inserts of one (object, run), or of
        one key, whoever makes them, exactly one wins.
        """
        ...

    async def by_key(self, keys: Collection[str]) -> dict[str, Keyed]:
        """Return the answers that were given under those of these keys that are known; durable."""
        ...

    async def attach(self, attachments: Sequence[Attachment]) -> None:
        """Remember answers, unless their keys are taken, their jobs gone, or those have `KEYS_KEPT` already.

        A key is remembered for as long as its job is kept. Durable when it returns.
        """
        ...

    async def backlog(self, limit: int) -> int:
        """Return how many jobs are in the queues or never had their turn, or `limit` where there are more."""
        ...

    async def extend(self, job_ids: Collection[str], until: datetime) -> set[str]:
        """Keep these records at least `until`; return the ids that were still there to keep."""
        ...

    async def sweep(self, pool: str, skip: Collection[str], limit: int) -> Found:
        """Return the first `limit` jobs in the order of a pool's queue that are not in `skip`.

        In the queue are all jobs that have not ended, but for those that wait for a later time.
        Where they are heavy it may be fewer, the first of them; then they are not exhausted.
        """
        ...

    async def mark(self, marks: Sequence[Mark], epoch: int) -> None:
        """Show jobs as running, unless they ended or a later epoch wrote. May be lost: it is for people."""
        ...

    async def note(self, notes: Sequence[Progressed]) -> None:
        """Show how far running jobs have come, unless they ended. May be lost: it is for people."""
        ...

    async def postpone(self, postpones: Sequence[Postpone], epoch: int) -> None:
        """Show jobs as scheduled, out of the queue, unless they ended; durable when it returns."""
        ...

    async def wake(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """Put scheduled jobs whose time has come back into the queue, the first `limit`; return them.

        They are in the queue when it returns; what nobody hears of is found there by a sweep.
        """
        ...

    async def waiting(self, now: datetime, limit: int) -> tuple[Job, ...]:
        """Return the first `limit` jobs that never had their turn, and may have it as far as is known."""
        ...

    async def begin(self, jobs: Sequence[Job]) -> tuple[Work, ...]:
        """Put jobs that never had their turn into the queue, as `hasty.rerun.begun` has them.

        Those that have ended meanwhile are left alone. Returns all that are in the queue then; durable.
        """
        ...

    async def put_off(self, offs: Sequence[Off]) -> None:
        """Let jobs wait longer for their turn, unless they had it or have ended; durable."""
        ...

    async def hasten(self, followed: Collection[str], now: datetime) -> None:
        """Let those that follow one of these jobs be looked at `now`. May be lost: then it is later."""
        ...

    async def overdue(self, now: datetime, limit: int) -> tuple[Work, ...]:
        """Return jobs that waited for their first start for longer than they may, as far as is known here."""
        ...

    async def excuse(self, job_ids: Collection[str]) -> None:
        """Note that these jobs were started: how long they waited matters no more."""
        ...

    async def settle(self, settlements: Sequence[Settle], epoch: int, until: datetime) -> None:
        """Write how jobs ended, unless they have ended; durable when it returns.

        A settled record is kept `until` then, or longer where its window asks for it. Whoever ended without
        a turn has no window: `until` then and no longer, whenever it was to have it.
        """
        ...

    async def take_epoch(self, holder: str, lease_s: float) -> int | None:
        """Return the next epoch, ours for `lease_s`; None while another holder's lease runs.

        Whoever held it before is recognised by name and need not wait.
        """
        ...

    async def renew_epoch(self, epoch: int, lease_s: float) -> bool:
        """Prolong the lease; False when a later epoch was taken."""
        ...

    async def deploy(self, pools: Mapping[str, PoolPlan], settings: str) -> Plan:
        """Make this the plan, under the next generation; durable when it returns."""
        ...

    async def plan(self) -> Plan | None:
        """Return the plan; None before the first."""
        ...

    async def rosters(self) -> dict[str, Roster]:
        """Return how many workers each pool has, as was written last."""
        ...

    async def enroll(self, rosters: Mapping[str, Roster], epoch: int) -> bool:
        """Write how many workers each pool has; durable. False, and nothing done, if a later epoch wrote."""
        ...

    async def adopt(self, pools: Collection[str], skip: Collection[str] = ()) -> int:
        """Move what is in the queue of other pools than these into the default one's; say how many.

        But for `skip`. What is scheduled is moved once its time has come: often there is very much of it.
        """
        ...
