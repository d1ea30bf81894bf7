"""What a webhook is told of a job that has ended: the same, byte by byte, each time."""

import json
from datetime import UTC, datetime

from hasty.job import Job


def notice_id(job: Job) -> str:
    """Return the id of the message: a job ends once, so this is no other message's."""
    return f"msg_{job.job_id}"


def notice(job: Job) -> bytes:
    """Return the body that tells how a job ended."""
    told = {
        "type": f"job.{job.status}",
        "timestamp": _written(job.ended_at),
        "data": {
            "job_id": job.job_id,
            "object_id": job.object_id,
            "handler": job.handler,
            "run": job.run,
            "status": str(job.status),
            "attempt": job.attempt,
            "result": job.result,
            "error": job.error,
            "labels": dict(job.labels),
            "accepted_at": _written(job.accepted_at),
            "started_at": _written(job.started_at),
            "ended_at": _written(job.ended_at),
        },
    }
    # In ASCII: a text that no encoding can hold must not keep the rest from being told.
    return json.dumps(told, separators=(",", ":")).encode()


def _written(moment: datetime | None) -> str | None:
    """Write a time as `/v1` does."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
