"""`hasty pools` and `hasty scale`."""

from typing import TYPE_CHECKING, Annotated

import typer

from hasty.cli import tables
from hasty.cli.given import read_size
from hasty.cli.reaching import AsJson, KeyFile, Url, reach
from hasty.cli.voice import Voice, printable

if TYPE_CHECKING:
    from hasty.client import Pool


def pools_command(*, url: Url = None, api_key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Show the pools of workers.

    How many there are, what runs, what waits and for how long.
    """
    voice = Voice(as_json=as_json)
    with reach(url, api_key_file) as client:
        voice.show(client.pools(), tables.pools)


def scale_command(
    sizes: Annotated[
        list[str],
        typer.Argument(
            metavar="POOL=N",
            help="A pool and how many workers it is to have; `auto`: as the settings say.",
        ),
    ],
    *,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let pools have other numbers of workers, while jobs run.

    New workers take jobs at once, the oldest first. Those that are too many end their jobs first. It
    holds until the next `hasty up` or `hasty deploy`.
    """
    voice = Voice(as_json=as_json)
    # All are read before anything is resized.
    wanted = [read_size(size) for size in sizes]
    with reach(url, api_key_file) as client:
        for name, workers in wanted:
            pool = client.scale(name, workers)
            voice.record(pool)
            voice.tell(resized(pool))


def resized(pool: "Pool") -> str:
    """Return a line about how a pool is now."""
    how = "as you say" if pool.pinned else "as the settings and the load say"
    return f"{printable(pool.name)}: {pool.workers} workers, {how}; {pool.present} take jobs now"
