"""The Registry and the Dispatcher watch each other: whoever is frozen is killed, and Ray restarts it."""

import asyncio
import logging
from typing import TYPE_CHECKING

from hasty.actors.refs import Peer
from hasty.clock import Clock
from hasty.pulse import PING_WITHIN_S, Pulse, rest_s
from hasty.telemetry import ActorFrozen, emit

if TYPE_CHECKING:
    from hasty.messages import Process


async def watch(name: str, peer: Peer, clock: Clock) -> None:
    """Ask a peer how it is, for ever, and kill its process when it is frozen.

    Only a process that has answered before is killed, and only once: one that is still being
    started has no name yet. One that was never heard, for a minute, is restarted by the actor's name.
    """
    pulse = Pulse(clock.monotonic())
    process: Process | None = None
    while True:
        asked_at = clock.monotonic()
        try:
            process = await asyncio.wait_for(peer.process(), PING_WITHIN_S)
        except Exception:  # noqa: BLE001  whoever answers with an error is not frozen: too soon to count
            pulse.missed(clock.monotonic(), clock.monotonic() - asked_at)
        else:
            pulse.heard(clock.monotonic())
        if pulse.frozen and process is not None:
            emit(ActorFrozen(name, pulse.silent_s), level=logging.WARNING)
            await peer.kill(process)
            process = None
        elif pulse.stuck:
            emit(ActorFrozen(name, pulse.silent_s), level=logging.WARNING)
            pulse.heard(clock.monotonic())
            await peer.restart()
        await clock.sleep(rest_s(asked_at, clock.monotonic()))
