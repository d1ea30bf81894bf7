"""Jobs as documents: how each is written, changed and read."""

from datetime import datetime

from pymongo import UpdateOne

from hasty.dispatch import Mark, Postpone, Settle
from hasty.job import Job, Progress, Status, Window, Work
from hasty.messages import Progressed
from hasty.outgoing.urls import host_of
from hasty.pools import DEFAULT_POOL, Plan, PoolPlan
from hasty.store.base import Off, kept_until, settled_fields
from hasty.store.mongo.connection import Document, from_text, to_text

#: `queue` names a pool while a job may be given to a worker; otherwise it is not there.
QUEUED = {"$exists": True}

#: Jobs that are scheduled since they were accepted.
NEVER_RAN = {"turn_due": {"$exists": True}, "live": True}

#: Jobs that were queued at once, or had their turn.
HAD_TURN = {"turn_due": None}

#: A job in brief: without what may be heavy.
LIGHT = {"payload": 0, "result": 0, "keys": 0}


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
        "pool": job.pool,
        "priority": job.priority,
        "accepted_at": job.accepted_at,
        "opens_at": job.opens_at,
        "expires_at": job.expires_at,
        "timeout_s": job.timeout_s,
    }
    if job.window is not None:
        document["window"] = job.window._asdict() | {"after": [str(status) for status in job.window.after]}
    optional = {
        "queue": job.pool if job.in_queue else None,
        "give_up_at": job.give_up_at,
        "due_at": job.due_at,
        "turn_due": job.turn_due,
        "follows": job.follows,
        "replaces": job.replaces or None,
        "forced": job.forced or None,
        "patience_s": job.patience_s,
        "labels": [f"{name}={value}" for name, value in job.labels] or None,
        "webhook": job.webhook,
        # See the outbox: it is due as soon as it has ended.
        "hook_at": job.accepted_at if job.webhook else None,
        "hook_host": host_of(job.webhook) if job.webhook else None,
        "keys": [entry_of(job.idempotency_key, job.fingerprint, made=True)] if job.idempotency_key else None,
    }
    return document | {name: value for name, value in optional.items() if value is not None}


def entry_of(key: str | None, fingerprint: str | None, *, made: bool) -> Document:
    """Return how a job notes a key that it is the answer to, and whether it was made for that."""
    return {"key": key, "fingerprint": fingerprint, "made": made}


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
        due_at=found.get("due_at"),
        turn_due=found.get("turn_due"),
        follows=found.get("follows"),
        replaces=found.get("replaces", False),
        forced=found.get("forced", False),
        patience_s=found.get("patience_s"),
        labels=tuple(label_of(text) for text in found.get("labels", ())),
        webhook=found.get("webhook"),
        idempotency_key=_made_by(found).get("key"),
        fingerprint=_made_by(found).get("fingerprint"),
        started_at=found.get("started_at"),
        ended_at=found.get("ended_at"),
        attempt=found.get("attempt", 0),
        worker=found.get("worker"),
        result=from_text(found.get("result")),
        error=from_text(found.get("error")),
        epoch=found.get("epoch", 0),
    )


def light_of(found: Document) -> Job:
    """Return the job in brief that a document without its weight tells of."""
    return job_of(found | {"payload": None})


def label_of(text: str) -> tuple[str, str]:
    """Return the label that is kept as this; no name has the sign between the two."""
    name, _, value = text.partition("=")
    return name, value


def _made_by(found: Document) -> Document:
    first: Document = next(iter(found.get("keys", ())), {})
    return first if first.get("made") else {}


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
    after = tuple(Status(status) for status in kept["after"])
    return Window(kept["seconds"], kept["from_end"], after, kept.get("not_before"))


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


def beginning(job: Job) -> UpdateOne:
    """Give it its turn, unless it had that, or has ended."""
    begun = document_of(job)
    # A key that it was attached to meanwhile stays.
    changed = ("status", "queue", "opens_at", "expires_at", "window", "give_up_at")
    return UpdateOne(
        {"_id": job.job_id, **NEVER_RAN},
        {
            "$set": {name: begun[name] for name in changed if name in begun},
            "$unset": dict.fromkeys(("turn_due", "follows", "patience_s"), ""),
        },
    )


def putting_off(off: Off) -> UpdateOne:
    """Let it wait longer, unless it had its turn, or has ended."""
    follows = {"$set": {"follows": off.follows}} if off.follows is not None else {"$unset": {"follows": ""}}
    changes = {"turn_due": off.until} | follows.pop("$set", {})
    return UpdateOne({"_id": off.job_id, **NEVER_RAN}, {"$set": changes, **follows})


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


def settlement(settle: Settle, epoch: int, until: datetime) -> tuple[UpdateOne, ...]:
    """Show how it ended, unless that is shown.

    Where no attempt decided it may have ended before its turn, and then its window does not count: so there
    are two updates, of which one takes effect.
    """
    fields = settled_fields(settle.outcome)
    fields |= {
        "status": str(settle.outcome.status),
        "result": to_text(settle.outcome.result),
        "error": to_text(settle.outcome.error),
    }
    gone = dict.fromkeys(("live", "queue", "run_at", "give_up_at", "progress"), "")
    ended = UpdateOne(
        {"_id": settle.job_id, "live": True},
        {
            "$set": fields,
            "$max": {"epoch": epoch, "expires_at": kept_until(settle.outcome, until)},
            "$unset": gone,
        },
    )
    if settle.outcome.attempt:
        return (ended,)
    passed_over = UpdateOne(
        {"_id": settle.job_id, **NEVER_RAN},
        {"$set": fields | {"expires_at": until}, "$max": {"epoch": epoch}, "$unset": gone},
    )
    return passed_over, ended


def plan_of(found: Document) -> Plan:
    """Return the plan that a document tells of."""
    pools = {name: PoolPlan(*pool) for name, pool in found["pools"].items()}
    return Plan(found["generation"], pools, found["settings"])
