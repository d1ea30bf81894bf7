"""How jobs, attempts, pools and the rest look to people."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hasty.cli.cells import (
    Rows,
    details,
    how_far,
    json_text,
    labels_text,
    moment,
    span,
    status_text,
    told,
    took,
)
from hasty.cli.voice import printable

if TYPE_CHECKING:
    from hasty.client import Attempt, DeliveryLog, HandlerInfo, Job, ObjectState, Pool, Schedule

#: So much of a node's id tells it from the others.
_NODE = 12


def standing(found: "Job") -> Text:
    """Return the line about a job that was just accepted, cancelled, or found in its place."""
    return Text(f"{printable(found.id)} ") + status_text(found.status)


def jobs(found: "list[Job]") -> Table:
    """Show jobs, a row each."""
    rows = Rows("JOB", "OBJECT", "HANDLER", "STATUS", "ATTEMPT", "ACCEPTED", "TOOK", "")
    for job in found:
        rows.add(
            job.id,
            job.object_id,
            job.handler,
            status_text(job.status),
            job.attempt,
            moment(job.accepted_at),
            took(job.started_at, job.ended_at),
            told(job.error) or how_far(job.progress),
        )
    return rows.table


def ends(found: "list[Job]") -> Table:
    """Show how jobs ended, a row each; of those that have not, how they stand."""
    rows = Rows("JOB", "OBJECT", "STATUS", "TOOK", "")
    for job in found:
        outcome = told(job.error) or json_text(job.result)
        rows.add(job.id, job.object_id, status_text(job.status), took(job.started_at, job.ended_at), outcome)
    return rows.table


def job(found: "Job") -> Table:
    """Show all of a job."""
    return details(
        ("job", found.id),
        ("object", f"{found.object_id} (run {found.run})"),
        ("handler", found.handler),
        ("status", status_text(found.status)),
        ("attempt", found.attempt),
        ("progress", how_far(found.progress)),
        ("error", told(found.error)),
        ("result", json_text(found.result)),
        ("payload", json_text(found.payload)),
        ("labels", labels_text(found.labels)),
        ("priority", found.priority or None),
        ("timeout", span(found.timeout)),
        ("pool", found.pool),
        ("worker", found.worker),
        ("webhook", found.webhook),
        ("follows", found.follows),
        ("accepted", moment(found.accepted_at)),
        ("run at", moment(found.run_at)),
        ("started", moment(found.started_at)),
        ("ended", moment(found.ended_at)),
        ("took", took(found.started_at, found.ended_at)),
    )


def attempts(found: "list[Attempt]") -> Table:
    """Show the attempts of a job, a row each."""
    rows = Rows("ATTEMPT", "WORKER", "NODE", "PID", "STARTED", "TOOK", "OUTCOME", "CAUSE", "ERROR")
    for each in found:
        rows.add(
            each.attempt,
            each.worker,
            (each.node or "")[:_NODE],
            each.pid,
            moment(each.started_at),
            took(each.started_at, each.ended_at),
            status_text(each.outcome),
            each.cause,
            told(each.error),
        )
    return rows.table


def pools(found: "list[Pool]") -> Table:
    """Show pools, a row each."""
    rows = Rows("POOL", "WORKERS", "SIZE", "PRESENT", "OUTDATED", "RUNNING", "QUEUED", "OLDEST WAIT")
    for pool in found:
        size = "as somebody said" if pool.pinned else f"{pool.min_workers} to {pool.max_workers}"
        rows.add(
            pool.name,
            pool.workers,
            size,
            pool.present,
            pool.outdated,
            pool.running,
            pool.queued,
            span(pool.oldest_wait_s),
        )
    return rows.table


def handlers(found: "list[HandlerInfo]") -> Table:
    """Show handlers, a row each."""
    rows = Rows("HANDLER", "POOL", "TIMEOUT", "WINDOW", "RETRIES", "")
    for each in found:
        rows.add(
            each.name,
            each.pool,
            span(each.timeout),
            span(each.rerun_window),
            each.retries,
            (each.description or "").partition("\n")[0],
        )
    return rows.table


def the_object(found: "ObjectState") -> Table:
    """Show how an object stands."""
    return details(
        ("object", found.object_id),
        ("runs", found.runs),
        ("window", "open" if found.open else f"opens in {span(found.retry_after)}"),
        ("opens at", moment(found.opens_at)),
        ("last job", _in_short(found.last_job)),
        ("waiting job", _in_short(found.waiting_job)),
    )


def _in_short(found: "Job | None") -> str | None:
    return f"{found.id} {found.status}" if found is not None else None


def schedules(found: "list[Schedule]") -> Table:
    """Show schedules, a row each."""
    rows = Rows("SCHEDULE", "WHEN", "OBJECT", "HANDLER", "NEXT", "LAST", "LAST JOB")
    for each in found:
        when = f"{each.cron} {each.timezone}" if each.cron else f"every {span(each.interval)}"
        last = each.last
        rows.add(
            each.name,
            when,
            each.job.get("object_id"),
            each.job.get("handler"),
            "paused" if each.paused else moment(each.next_at),
            f"{moment(last.at)} {last.outcome}" if last else "",
            last.job_id if last else "",
        )
    return rows.table


def deliveries(found: "DeliveryLog") -> Table:
    """Show each try to deliver the end of a job, and what is to come."""
    rows = Rows("TRY", "AT", "ANSWER", "ERROR")
    for each in found.deliveries:
        rows.add(each.attempt, moment(each.at), each.status_code, each.error)
    again = f"; again at {moment(found.next_at)}" if found.next_at is not None else ""
    rows.table.caption = f"{printable(found.state.replace('_', ' '))}{again}"
    rows.table.caption_justify = "left"
    return rows.table
