"""What one actor may ask of another, wherever that one lives.

Any call may raise Unreachable: then it may or may not have been carried out. All of them may
be made again.
"""

from typing import Protocol

from hasty.messages import Admit, Admitted, Attend, Attendance, Enqueue, Health, Process, Report, Run


class RegistryRef(Protocol):
    """See `hasty.actors.registry.Registry`."""

    async def admit(self, message: Admit) -> Admitted:
        """See `Registry.admit`."""
        ...

    async def health(self) -> Health:
        """Say how it is."""
        ...


class DispatcherRef(Protocol):
    """See `hasty.actors.dispatcher.Dispatcher`."""

    async def enqueue(self, message: Enqueue) -> None:
        """See `Dispatcher.enqueue`."""
        ...

    async def report(self, message: Report) -> None:
        """See `Dispatcher.report`."""
        ...

    async def health(self) -> Health:
        """Say how it is."""
        ...


class WorkerRef(Protocol):
    """See `hasty.actors.worker.Worker`."""

    async def attend(self, message: Attend) -> Attendance:
        """See `Worker.attend`."""
        ...

    async def run(self, message: Run) -> None:
        """See `Worker.run`."""
        ...


class Pool(Protocol):
    """The workers a Dispatcher looks after."""

    @property
    def names(self) -> tuple[str, ...]:
        """The workers there should be."""
        ...

    def worker(self, name: str) -> WorkerRef:
        """Return a way to talk to a worker, alive or not."""
        ...

    async def revive(self, name: str) -> None:
        """Create the worker unless it exists. Does not wait until it answers; never raises."""
        ...

    async def kill(self, process: Process) -> None:
        """Kill exactly this process, also when it is stopped; never raises."""
        ...

    async def restart(self, name: str) -> None:
        """Kill whichever process the worker has; never raises."""
        ...


class Peer(Protocol):
    """An actor as the one sees it that watches it."""

    async def process(self) -> Process:
        """Ask in the loop that does its work; creates the actor if there is none."""
        ...

    async def kill(self, process: Process) -> None:
        """Kill exactly this process, also when it is stopped; never raises."""
        ...

    async def restart(self) -> None:
        """Kill whichever process the actor has; never raises."""
        ...
