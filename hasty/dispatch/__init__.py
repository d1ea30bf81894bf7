"""Who runs what, when: a state machine without I/O, the events it takes and the commands it gives."""

from hasty.dispatch.backlog import CAPACITY, SWEEP_EVERY_S
from hasty.dispatch.commands import Command, Dismiss, Halt, Mark, Postpone, Send, Settle, Sweep
from hasty.dispatch.events import (
    Attended,
    Closed,
    Dismissed,
    Drained,
    Event,
    Lost,
    Offered,
    Planned,
    Postponed,
    Settled,
    SweepFailed,
    Swept,
    Ticked,
    Unanswered,
)
from hasty.dispatch.machine import Dispatch, Tokens

__all__ = [
    "CAPACITY",
    "SWEEP_EVERY_S",
    "Attended",
    "Closed",
    "Command",
    "Dismiss",
    "Dismissed",
    "Dispatch",
    "Drained",
    "Event",
    "Halt",
    "Lost",
    "Mark",
    "Offered",
    "Planned",
    "Postpone",
    "Postponed",
    "Send",
    "Settle",
    "Settled",
    "Sweep",
    "SweepFailed",
    "Swept",
    "Ticked",
    "Tokens",
    "Unanswered",
]
