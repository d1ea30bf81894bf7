"""Bars on a terminal: one for each job that is waited for."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from hasty.cli.exits import FINAL
from hasty.cli.voice import Voice, printable

if TYPE_CHECKING:
    from hasty.client import Event, Job
    from hasty.client import Progress as HowFar


class Bars:
    """Shows how far jobs are, on standard error; nothing where that is no terminal, or for programs.

    They are gone when all is over.
    """

    def __init__(self, voice: Voice) -> None:
        """Show nothing yet."""
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[status]} {task.fields[message]}", markup=False),
            TimeElapsedColumn(),
            console=voice.err,
            transient=True,
            disable=voice.as_json or not voice.err.is_terminal,
        )
        self._of: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Begin to show."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away."""
        self._bars.stop()

    def see(self, job: "Job") -> None:
        """Show a job as it was read."""
        if job.id not in self._of:
            name = f"{printable(job.object_id)} ({printable(job.handler)})"
            self._of[job.id] = self._bars.add_task(name, total=None, status="", message="")
        self._show(job.id, job.status, job.progress)

    def hear(self, event: "Event") -> None:
        """Show what an event says of a job that was read before."""
        if event.job_id in self._of and event.status is not None:
            self._show(event.job_id, event.status, event.progress)

    def _show(self, job_id: str, status: str, progress: "HowFar | None") -> None:
        fraction = progress.fraction if progress is not None else None
        message = printable(progress.message) if progress is not None and progress.message else ""
        if status in FINAL:
            fraction = 1.0
        # Without a total the bar only says that something goes on.
        self._bars.update(
            self._of[job_id],
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
            status=status,
            message=message,
        )
