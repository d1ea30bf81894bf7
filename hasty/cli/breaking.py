"""`hasty chaos` and `hasty bench`: hasty tried hard."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hasty.cli.reaching import AsJson
from hasty.cli.server import server_extra
from hasty.cli.voice import Voice

if TYPE_CHECKING:
    from hasty.bench.__main__ import Measured

#: What `hasty.chaos.faults.KINDS` has. To import it takes what only a server needs.
FAULTS = (
    *("worker-kill", "worker-freeze", "registry-kill", "registry-freeze"),
    *("dispatcher-kill", "dispatcher-freeze", "clerk-kill", "clerk-freeze"),
    *("gateway-kill", "gateway-freeze"),
    *("haproxy-kill", "haproxy-manager-kill", "proxy-kill", "controller-kill", "operator-kill"),
    *("mongod-kill", "mongod-freeze", "raylet-kill", "gcs-kill", "everything-kill"),
)


def chaos_command(
    *,
    minutes: Annotated[float, typer.Option(min=0, help="How long to go on.")] = 10.0,
    seed: Annotated[
        int | None, typer.Option(help="Decides which faults, in which order. Default: any.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=500, help="Jobs asked for in a second.")] = 20.0,
    faults: Annotated[
        str | None,
        typer.Option(help=f"Kinds of fault, with commas between: {', '.join(FAULTS)}. Default: all."),
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="Let faults overlap.")] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Break the hasty that runs with this data folder. Default: one of its own."),
    ] = None,
) -> None:
    """Break a hasty on purpose; check its promises.

    Its processes are killed or frozen, one after the other, while jobs are asked for. Then what
    MongoDB has is compared with every answer that came. Without --data-dir it starts a hasty of its
    own in a temporary folder, with short jobs, and removes it afterwards. Ctrl-C ends the faults
    and goes on to check. Exit code 0: all promises kept. 1: not, and here are the jobs. 2: it could not run.
    """
    with server_extra():
        from hasty.chaos.command import chaos_command as chaos
    chaos(minutes=minutes, seed=seed, rate=rate, faults=faults, together=together, data_dir=data_dir)


def bench_command(
    *,
    connections: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 128,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each load.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Measure hasty on this machine.

    Against a bare Serve echo: each is started for it, and stopped.
    """
    with server_extra():
        from hasty.bench import __main__ as bench
    voice = Voice(as_json=as_json)
    voice.note(f"measuring a bare Serve echo, {connections} connections")
    echo = bench.measure_echo(connections, seconds)
    voice.note("measuring hasty")
    hasty = bench.measure_hasty(connections, seconds)
    voice.record({"cores": os.cpu_count(), "echo": _figures(echo), "hasty": _figures(hasty)})
    voice.tell(bench.table(echo, hasty, connections))


def _figures(measured: "Measured") -> dict[str, Any]:
    return {
        **measured._asdict(),
        "busy": measured.busy._asdict(),
        "alone": measured.alone._asdict(),
    }
