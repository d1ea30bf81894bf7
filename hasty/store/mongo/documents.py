"""Jobs as documents: how each is written, changed and read."""

from datetime import datetime

from pymongo import UpdateOne

from hasty.dispatch import Mark, Postpone, Settle
from hasty.job import Job, Progress, Status, Window, Work
from hasty.messages import Progressed
from hasty.pools import DEFAULT_POOL, Plan, PoolPlan
from hasty.store.base import kept_until, settled_fields
from hasty.store.mongo.connection import Document, from_text, to_text

#: `queue` names a pool while a job may be given to a worker; otherwise it is not there.
QUEUED = {"$exists": True}


def document_of(job: Job) -> Document:
    """Return a new job as it is inserted."""
    document: Document = {
        "_id": job.job_id,
        "object_id": job.object_id,
        "run": job.run,
        "handler": job.handler,
        "payload": to_text(job.payload),
        "status": str(job.status),
        "live": True,
        "queue": job.pool,
        "pool": job.pool,
        "priority": job.priority,
        "accepted_at": job.accepted_at,
        "opens_at": job.opens_at,
        "expires_at": job.expires_at,
        "timeout_s": job.timeout_s,
    }
    if job.window is not None:
        document["window"] = job.window._asdict() | {"after": [str(status) for status in job.window.after]}
    optional = {"idempotency_key": job.idempotency_key, "give_up_at": job.give_up_at}
    return document | {name: value for name, value in optional.items() if value is not None}


def job_of(found: Document) -> Job:
    """Return the whole job that a document tells of."""
    return Job(
        job_id=found["_id"],
        object_id=found["object_id"],
        run=found["run"],
        handler=found["handler"],
        payload=from_text(found["payload"]),
        status=Status(found["status"]),
        priority=found["priority"],
        accepted_at=found["accepted_at"],
        opens_at=found["opens_at"],
        expires_at=found["expires_at"],
        timeout_s=found["timeout_s"],
        pool=found.get("pool", DEFAULT_POOL),
        window=window_of(found),
        give_up_at=found.get("give_up_at"),
        run_at=found.get("run_at"),
        progress=Progress(**found["progress"]) if found.get("progress") else None,
        idempotency_key=found.get("idempotency_key"),
        started_at=found.get("started_at"),
        ended_at=found.get("ended_at"),
        attempt=found.get("attempt", 0),
        worker=found.get("worker"),
        result=from_text(found.get("result")),
        error=from_text(found.get("error")),
        epoch=found.get("epoch", 0),
    )


def work_of(found: Document) -> Work:
    """Return what Dispatcher and Worker need of it."""
    return Work(
        found["_id"],
        found["object_id"],
        found["run"],
        found["handler"],
        from_text(found["payload"]),
        found["priority"],
        found["accepted_at"],
        found["timeout_s"],
        found.get("pool", DEFAULT_POOL),
        window_of(found),
    )


def window_of(found: Document) -> Window | None:
    """Return its window, where that is decided by its end."""
    kept = found.get("window")
    if kept is None:
        return None
    return Window(kept["seconds"], kept["from_end"], tuple(Status(status) for status in kept["after"]))


def marking(mark: Mark, epoch: int) -> UpdateOne:
    """Show that an attempt runs, while the job is in the queue."""
    # {$not: {$gt}} also holds where no epoch was written yet.
    chosen = {"_id": mark.job_id, "queue": QUEUED, "epoch": {"$not": {"$gt": epoch}}}
    shown = {
        "status": str(Status.RUNNING),
        "started_at": mark.at,
        "worker": mark.worker,
        "attempt": mark.attempt,
        "epoch": epoch,
    }
    return UpdateOne(chosen, {"$set": shown, "$unset": {"give_up_at": "", "progress": ""}})


def noting(note: Progressed) -> UpdateOne:
    """Show how far it has come, while it is in the queue."""
    chosen = {"_id": note.job_id, "queue": QUEUED}
    return UpdateOne(chosen, {"$set": {"progress": note.progress._asdict()}})


def postponement(postpone: Postpone, epoch: int) -> UpdateOne:
    """Show that it waits for another attempt, unless it has ended."""
    # A later attempt that is shown already says that this comes late.
    chosen = {
        "_id": postpone.job_id,
        "live": True,
        "epoch": {"$not": {"$gt": epoch}},
        "attempt": {"$not": {"$gt": postpone.attempt}},
    }
    shown = {
        "status": str(Status.SCHEDULED),
        "run_at": postpone.run_at,
        "attempt": postpone.attempt,
        "error": to_text(postpone.error),
        "epoch": epoch,
    }
    return UpdateOne(
        chosen, {"$set": shown, "$unset": dict.fromkeys(("queue", "give_up_at", "progress"), "")}
    )


def settlement(settle: Settle, epoch: int, until: datetime) -> UpdateOne:
    """Show how it ended, unless that is shown."""
    fields = settled_fields(settle.outcome)
    fields |= {
        "status": str(settle.outcome.status),
        "result": to_text(settle.outcome.result),
        "error": to_text(settle.outcome.error),
    }
    return UpdateOne(
        {"_id": settle.job_id, "live": True},
        {
            "$set": fields,
            "$max": {"epoch": epoch, "expires_at": kept_until(settle.outcome, until)},
            "$unset": dict.fromkeys(("live", "queue", "run_at", "give_up_at", "progress"), ""),
        },
    )


def plan_of(found: Document) -> Plan:
    """Return the plan that a document tells of."""
    pools = {name: PoolPlan(*pool) for name, pool in found["pools"].items()}
    return Plan(found["generation"], pools, found["settings"])
