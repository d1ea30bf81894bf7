"""What a run found, for people: a table of recoveries, counts, and what was broken."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from hasty.chaos.answers import count
from hasty.chaos.evidence import Evidence
from hasty.chaos.faults import Fault
from hasty.chaos.recovery import percentile, seconds_to_recover, unclear_during


def table(faults: Sequence[Fault], evidence: Evidence) -> Table:
    """Show for each kind of fault how long it took until what it hit ran again."""
    shown = Table(title="from the fault to running again, in seconds")
    for name in ("fault", "n", "p50", "p99", "max", "no clear answer"):
        shown.add_column(name, justify="left" if name == "fault" else "right")
    for name in sorted({fault.kind.name for fault in faults}):
        of_kind = [fault for fault in faults if fault.kind.name == name]
        times = [seconds_to_recover(fault, evidence) for fault in of_kind]
        unclear = sum(unclear_during(fault, evidence.answers) for fault in of_kind)
        shown.add_row(name, *_figures(sorted(time for time in times if time is not None)), str(unclear))
    return shown


def _figures(ordered: Sequence[float]) -> tuple[str, ...]:
    if not ordered:
        return "0", "", "", ""
    return str(len(ordered)), *(f"{percentile(ordered, percent):.2f}" for percent in (50, 99, 100))


def summary(evidence: Evidence) -> str:
    """Say in a few lines what the load saw and what became of its jobs."""
    ends = Counter(str(job.status) for job in evidence.jobs.values())
    attempts = (attempt for page in evidence.pages.values() for attempt in page.attempts)
    lost = Counter(str(attempt.cause) for attempt in attempts if attempt.outcome == "lost")
    again = sum(len(jobs) - 1 for jobs in evidence.of_objects().values())
    return "\n".join(
        (
            f"posts: {told(count(evidence.answers))}",
            f"jobs: {told(ends)}; {again} of them in a later window of their object",
            f"attempts lost: {told(lost)}",
        )
    )


def told(counts: dict[str, int]) -> str:
    """Say counts in one line."""
    return ", ".join(f"{number} {what}" for what, number in counts.items()) or "none"


def write_answers(evidence: Evidence, file: Path) -> None:
    """Keep every answer, one JSON object on each line, for whoever looks for the cause."""
    with file.open("w") as lines:
        for answer in evidence.answers:
            fields = answer._asdict() | answer.reply._asdict()
            del fields["reply"]
            print(json.dumps(fields, default=str), file=lines)
