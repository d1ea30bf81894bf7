"""Commands about jobs that there are: get, result, cancel, attempts; and about their objects."""

from typing import Annotated

import typer

from hasty.cli import options, tables
from hasty.cli.cells import indented
from hasty.cli.exits import Exit, worst
from hasty.cli.given import read_duration
from hasty.cli.problems import tell_problem
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.voice import Voice
from hasty.errors import HastyError


def get_command(
    job_id: options.JobId, *, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show a job.

    Exit code 0 however it stands: `wait` and `result` tell it by theirs.
    """
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        job = client.get(job_id)
    voice.record(job)
    voice.tell(tables.job(job))


def result_command(
    job_id: options.JobId,
    *,
    within: options.Within = None,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Print what a job returned.

    It is JSON, and printed once there is any. Exit code 1 where the job has failed, 3 where it was cancelled.
    """
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file, patient=True) as client:
        result = client.result(job_id, read_duration("--within", within))
    voice.record(result)
    voice.tell(indented(result))


def cancel_command(
    job_ids: options.JobIds,
    *,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="For people; it is shown with the job.", show_default=False),
    ] = None,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """End jobs, whether they wait or run.

    One that has ended already is told, with exit code 4.
    """
    voice = Voice(as_json=as_json)
    codes = []
    with reach(url, api_key_file) as client:
        for job_id in dict.fromkeys(job_ids):
            try:
                job = client.cancel(job_id, reason)
            except HastyError as error:
                codes.append(tell_problem(error, as_json=as_json))
                continue
            codes.append(Exit.OK)
            voice.record(job)
            voice.tell(tables.standing(job))
    raise typer.Exit(worst(codes))


def attempts_command(
    job_id: options.JobId, *, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show each start of a job's handler.

    Who ran it and when, how it went, and where it was lost: what it died of.
    """
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        voice.show(client.attempts(job_id), tables.attempts)


def object_command(
    object_id: options.ObjectId,
    *,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show an object.

    How often it ran, its last job, and when its rerun window opens.
    """
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        found = client.object(object_id)
    voice.record(found)
    voice.tell(tables.the_object(found))
