"""Calls to actors over Ray, with Ray's errors turned into ours."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from hasty.cluster.channel import Channel
from hasty.cluster.processes import kill
from hasty.cluster.wire import pack, unpack
from hasty.errors import HastyError, Unreachable
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

if TYPE_CHECKING:
    from ray.actor import ActorHandle

#: Finds an actor by name, creating it if it must exist. May block for a moment.
Resolve = Callable[[], "ActorHandle[Any]"]


class RayRef:
    """A named actor, wherever and in whichever incarnation it lives.

    What is said for each job goes by the actor's socket, if it listens on this machine. Where it
    does not, or the connection breaks, it is said (again) through Ray, which waits for an actor that
    is being restarted, and makes the call again if that one dies over it. A handle may stay bound
    to a dead incarnation, so it is resolved again after each failure. Implements the refs of
    `hasty.actors.refs`.
    """

    def __init__(self, resolve: Resolve, near: Channel | None = None) -> None:
        """Resolve on first use; `near` leads to the actor's socket on this machine."""
        self._resolve = resolve
        self._near = near
        self._handle: ActorHandle[Any] | None = None

    async def admit(self, message: Admit) -> Admitted:
        """See `RegistryRef`."""
        answer: Admitted = await self._say("admit", message)
        return answer

    async def enqueue(self, message: Enqueue) -> None:
        """See `DispatcherRef`."""
        await self._say("enqueue", message)

    async def report(self, message: Report) -> None:
        """See `DispatcherRef`."""
        await self._say("report", message)

    async def cancel(self, message: Cancel) -> Cancelled:
        """See `DispatcherRef`."""
        answer: Cancelled = await self._call("cancel", pack(message))
        return answer

    async def scale(self, message: Scale) -> Pools:
        """See `DispatcherRef`."""
        answer: Pools = await self._call("scale", pack(message))
        return answer

    async def pools(self) -> Pools:
        """See `DispatcherRef`."""
        answer: Pools = await self._call("pools")
        return answer

    async def follow(self) -> None:
        """Ask a Dispatcher to follow the latest deployment."""
        await self._call("follow")

    async def since(self, message: Follow) -> Followed:
        """See `HeraldRef`."""
        answer: Followed = await self._say("since", message)
        return answer

    async def attend(self, message: Attend) -> Attendance:
        """See `WorkerRef`."""
        answer: Attendance = await self._call("attend", pack(message))
        return answer

    async def run(self, message: Run) -> None:
        """See `WorkerRef`."""
        await self._say("run", message)

    async def stop(self, message: Stop) -> None:
        """See `WorkerRef`."""
        await self._call("stop", pack(message))

    async def health(self) -> Health:
        """See `RegistryRef` and `DispatcherRef`."""
        answer: Health = await self._call("health")
        return answer

    async def process(self) -> Process:
        """See `Peer`."""
        answer: Process = await self._call("process")
        return answer

    async def kill(self, process: Process) -> None:
        """See `Peer`."""
        await kill(process)

    async def restart(self) -> None:
        """See `Peer`."""
        with contextlib.suppress(RayError, ValueError):
            handle = await asyncio.to_thread(self._resolve)
            # Takes some six seconds where the process is stopped.
            await asyncio.to_thread(lambda: ray.kill(handle, no_restart=False))

    async def drain(self) -> None:
        """Ask it to take nothing new."""
        await self._call("drain")

    async def _say(self, method: str, message: Any) -> Any:
        packed = pack(message)
        answer = await self._near.call(method, packed) if self._near is not None else None
        if answer is None:
            return await self._call(method, packed)
        return unpack(answer) if answer else None

    async def _call(self, method: str, *packed: bytes) -> Any:
        handle = await self._found()
        try:
            answer = await getattr(handle, method).remote(*packed)
        except RayTaskError as error:
            # Ray's text holds a traceback; what the actor meant to say is its cause.
            if isinstance(error.cause, HastyError):
                raise error.cause from None
            raise
        except (RayError, ValueError) as error:
            self._handle = None
            raise Unreachable(f"{method} was not answered ({type(error).__name__})") from error
        return unpack(answer) if answer is not None else None

    async def _found(self) -> "ActorHandle[Any]":
        """Return the actor. Raises Unreachable, whatever was wrong: nothing was said to it yet."""
        if self._handle is None:
            try:
                # It asks the GCS: in a thread, so that a GCS that is away stops nothing else.
                self._handle = await asyncio.to_thread(self._resolve)
            except Exception as error:
                raise Unreachable(f"the actor was not found ({type(error).__name__})") from error
        return self._handle
