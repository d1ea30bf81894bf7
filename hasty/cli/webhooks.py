"""`hasty webhooks`: what became of the calls that tell the end of jobs."""

import typer

from hasty.cli import options, tables
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.voice import Voice

app = typer.Typer(help="Calls that tell others how jobs ended.", no_args_is_help=True)


@app.command("deliveries")
def deliveries_command(
    job_id: options.JobId, *, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show each try to deliver the end of a job, and when the next one is."""
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        log = client.deliveries(job_id)
    voice.record(log)
    voice.tell(tables.deliveries(log))
