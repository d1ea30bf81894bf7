"""`hasty chaos`: what it does, and what it says."""

import asyncio
import random
import signal
from pathlib import Path

from rich.console import Console

from hasty.chaos.faults import KINDS, Kind
from hasty.chaos.instance import Instance, PrivateInstance
from hasty.chaos.report import summary, table, write_answers
from hasty.chaos.run import Options, Result, chaos
from hasty.errors import CannotStart, StoreUnavailable
from hasty.local.up import tell

#: Exit code when a promise was not kept.
BROKEN = 1


def chaos_command(
    *,
    minutes: float = 10.0,
    seed: int | None = None,
    rate: float = 20.0,
    faults: str | None = None,
    together: bool = False,
    data_dir: Path | None = None,
) -> None:
    """Break the hasty that runs with this data folder, or one of its own, and check what it did.

    Ends the process with code 1 when a promise was not kept. Raises CannotStart.
    """
    seed = random.randrange(1_000_000) if seed is None else seed  # noqa: S311  not a secret
    options = Options(
        minutes=minutes, seed=seed, rate=rate, kinds=_kinds(faults, own=data_dir is None), together=together
    )
    tell(f"seed {seed}")
    result = _on_running(options, data_dir) if data_dir else _on_private(options)
    if result.violations:
        raise SystemExit(BROKEN)


def _kinds(names: str | None, *, own: bool) -> tuple[Kind, ...]:
    """Read the names. Raises CannotStart for one that is not known, or cannot be done."""
    possible = {name: kind for name, kind in KINDS.items() if own or not kind.all_of_them}
    wanted = [name.strip() for name in names.split(",")] if names else list(possible)
    for name in wanted:
        if name not in KINDS:
            raise CannotStart(f"there is no fault {name!r}: there are {', '.join(KINDS)}")
        if name not in possible:
            raise CannotStart(f"{name} needs a hasty that can be started again: leave out --data-dir")
    return tuple(possible[name] for name in wanted)


def _on_running(options: Options, data_dir: Path) -> Result:
    return _told(_result(options, Instance(data_dir)))


def _on_private(options: Options) -> Result:
    """Start one, break it, stop it. Its folder stays where there is something to look at."""
    # Whoever asks us to end, by whatever signal, gets everything cleaned up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    instance = PrivateInstance()
    keep = False
    try:
        tell(f"starting a hasty of its own in {instance.data_dir}")
        asyncio.run(instance.start())
        result = _told(_result(options, instance))
        keep = bool(result.violations)
    except CannotStart:
        keep = True
        raise
    finally:
        instance.stop(keep=keep)
        if keep:
            tell(f"to look at: {instance.data_dir}")
    if keep:
        write_answers(result.evidence, instance.data_dir / "answers.jsonl")
    return result


def _result(options: Options, instance: Instance) -> Result:
    try:
        return asyncio.run(chaos(options, instance, tell))
    except StoreUnavailable as error:
        raise CannotStart(f"nothing can be checked here: {error}") from error


def _told(result: Result) -> Result:
    console = Console()
    console.print(table(result.faults, result.evidence))
    tell(summary(result.evidence))
    for violation in result.violations:
        tell(str(violation))
    tell(f"{len(result.violations)} violations" if result.violations else "every promise was kept")
    return result
