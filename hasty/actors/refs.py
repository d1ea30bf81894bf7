"""What one actor may ask of another, wherever that one lives.

Any call may raise Unreachable: then it may or may not have been carried out. All of them may
be made again.
"""

from typing import Protocol

from hasty.messages import (
    Admit,
    Admitted,
    Attend,
    Attendance,
    Cancel,
    Cancelled,
    Enqueue,
    Follow,
    Followed,
    Health,
    Pools,
    Process,
    Report,
    Run,
    Scale,
    Stop,
)
from hasty.pools import Plan


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

    async def cancel(self, message: Cancel) -> Cancelled:
        """See `Dispatcher.cancel`."""
        ...

    async def scale(self, message: Scale) -> Pools:
        """See `Dispatcher.scale`."""
        ...

    async def pools(self) -> Pools:
        """See `Dispatcher.pools`."""
        ...

    async def health(self) -> Health:
        """Say how it is."""
        ...


class HeraldRef(Protocol):
    """See `hasty.actors.herald.Herald`."""

    async def since(self, message: Follow) -> Followed:
        """See `Herald.since`."""
        ...


class WorkerRef(Protocol):
    """See `hasty.actors.worker.Worker`."""

    async def attend(self, message: Attend) -> Attendance:
        """See `Worker.attend`."""
        ...

    async def run(self, message: Run) -> None:
        """See `Worker.run`."""
        ...

    async def stop(self, message: Stop) -> None:
        """See `Worker.stop`."""
        ...


class Workers(Protocol):
    """The workers of all pools, as a Dispatcher reaches them."""

    def follow(self, plan: Plan) -> None:
        """Start workers by this plan from now on."""
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

    async def dismiss(self, name: str) -> None:
        """End the worker for good: nothing is started again or replayed. Raises Unreachable."""
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
