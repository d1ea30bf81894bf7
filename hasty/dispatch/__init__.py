"""Who runs what, when: a state machine without I/O, the events it takes and the commands it gives."""

from hasty.dispatch.commands import Command, Mark, Replace, Send, Settle, Sweep
from hasty.dispatch.events import (
    Attended,
    Drained,
    Event,
    Lost,
    Offered,
    Settled,
    SweepFailed,
    Swept,
    Ticked,
    Unanswered,
)
from hasty.dispatch.machine import CAPACITY, SWEEP_EVERY_S, Dispatch

__all__ = [
    "CAPACITY",
    "SWEEP_EVERY_S",
    "Attended",
    "Command",
    "Dispatch",
    "Drained",
    "Event",
    "Lost",
    "Mark",
    "Offered",
    "Replace",
    "Send",
    "Settle",
    "Settled",
    "Sweep",
    "SweepFailed",
    "Swept",
    "Ticked",
    "Unanswered",
]
