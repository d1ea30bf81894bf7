"""`hasty submit` and `hasty rerun`: new jobs."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hasty.cli import options
from hasty.cli.exits import Exit
from hasty.cli.given import read_duration, read_json, read_labels, read_moment, wrong
from hasty.cli.problems import saying
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.tables import standing
from hasty.cli.voice import Voice
from hasty.cli.waiting import wait_for
from hasty.errors import TryAgainLater

if TYPE_CHECKING:
    from hasty.client import Job


def submit_command(
    object_id: options.ObjectId,
    *,
    handler: options.HandlerName = "sleep",
    payload: options.Payload = None,
    timeout: options.Timeout = None,
    priority: options.Priority = 0,
    run_at: options.RunAt = None,
    delay: options.Delay = None,
    label: options.Labels = None,
    on_conflict: options.Conflict = "reject",
    webhook: options.Webhook = None,
    idempotency_key: options.IdempotencyKey = None,
    wait: options.Wait = False,
    within: options.Within = None,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job for an object.

    The first word that is printed is its id.
    """
    if run_at is not None and delay is not None:
        raise wrong("--run-at", "give it, or a delay, not both")
    voice, limit_s = Voice(as_json=as_json), read_duration("--within", within)
    request: dict[str, Any] = {
        "object_id": object_id,
        "payload": read_json("--payload", payload),
        "handler": handler,
        "timeout": read_duration("--timeout", timeout),
        "priority": priority,
        "run_at": read_moment("--run-at", run_at),
        "delay": read_duration("--delay", delay),
        "labels": read_labels("--label", label),
        "on_conflict": on_conflict,
        "webhook": webhook,
    }
    key = idempotency_key or str(uuid.uuid4())
    with reach(url, api_key_file) as client, _repeatable(key, voice):
        job = client.submit(**request, idempotency_key=key)
    if wait:
        raise typer.Exit(_wait_for(job, limit_s, voice, url, api_key_file))
    voice.record(job)
    voice.tell(standing(job))


def rerun_command(
    job_id: options.JobId,
    *,
    force: Annotated[bool, typer.Option("--force", help="Leave the rerun window out of account.")] = False,
    on_conflict: options.Conflict = "reject",
    idempotency_key: options.IdempotencyKey = None,
    wait: options.Wait = False,
    within: options.Within = None,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Run a job again.

    It is a new job that asks for the same. The first word that is printed is its id.
    """
    voice, limit_s = Voice(as_json=as_json), read_duration("--within", within)
    key = idempotency_key or str(uuid.uuid4())
    with reach(url, api_key_file) as client, _repeatable(key, voice):
        job = client.rerun(job_id, force=force, on_conflict=on_conflict, idempotency_key=key)
    if wait:
        raise typer.Exit(_wait_for(job, limit_s, voice, url, api_key_file))
    voice.record(job)
    voice.tell(standing(job))


@contextmanager
def _repeatable(key: str, voice: Voice) -> Iterator[None]:
    """Where no clear answer comes, say how to ask again without a second job."""
    try:
        yield
    except TryAgainLater as error:
        voice.note(f"the job may exist or not: with --idempotency-key {key} there will be one, not two")
        saying(error, idempotency_key=key)
        raise


def _wait_for(
    job: "Job", limit_s: float | None, voice: Voice, url: str | None, key_file: Path | None
) -> Exit:
    """Wait for a new job; its id is said first, so that whoever is cut off can find it."""
    voice.note(standing(job).plain)
    return wait_for([job.id], limit_s, voice, url, key_file)
