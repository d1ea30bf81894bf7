"""What hasty says about itself: a closed list of events, each with typed fields.

A log line, a metric or a test takes the event, never a formatted string. Ids of users' objects
stay out of them. Events are for what is rare; what happens for each job is in MongoDB.
"""

import logging
from typing import NamedTuple

_logger = logging.getLogger("hasty")


class HandlersLoaded(NamedTuple):
    """A process knows these handlers; one that knows others of the same set has another version."""

    names: str
    version: str


class HandlersDiffer(NamedTuple):
    """A worker knows other handlers than the first of its deployment: its node has other code."""

    worker: str
    version: str
    first: str


class HandlersMissing(NamedTuple):
    """A worker could not load its handlers; it ends, and Ray starts it again."""

    worker: str
    why: str


class EpochTaken(NamedTuple):
    """A Dispatcher took office."""

    epoch: int


class DispatcherStoodDown(NamedTuple):
    """A Dispatcher stopped acting: somebody holds a newer epoch, or it met an error."""

    epoch: int
    why: str


class WorkerAttended(NamedTuple):
    """A worker was heard for the first time, or under a new boot."""

    worker: str
    boot: int
    running: int


class WorkerLost(NamedTuple):
    """A worker did not answer for too long: its jobs go elsewhere."""

    worker: str
    silent_s: float


class WorkerDismissed(NamedTuple):
    """A worker that had no jobs was ended: it is not wanted, unfit, or of an older plan."""

    worker: str


class PoolResized(NamedTuple):
    """Another number of workers is wanted in a pool."""

    pool: str
    before: int
    wanted: int


class PoolsMissing(NamedTuple):
    """Queued jobs were for pools that are not in the plan; they are in the default one now."""

    jobs: int


class WorkerSilent(NamedTuple):
    """A worker did not answer a call."""

    worker: str
    why: str


class ActorFrozen(NamedTuple):
    """An actor's process was there but did not answer: it is killed, and Ray restarts it."""

    actor: str
    silent_s: float


class AttemptBroke(NamedTuple):
    """Running an attempt failed inside hasty, not inside the handler."""

    worker: str
    job_id: str
    why: str


class HandlerGoesOn(NamedTuple):
    """A handler that overran swallowed its cancellation: its process is to be replaced."""

    worker: str
    job_id: str


class ProcessLost(NamedTuple):
    """A job's own code ended the process it ran in: it is charged."""

    worker: str
    job_id: str
    cause: str


class RecorderUnusable(NamedTuple):
    """A flight recorder's file cannot be used: deaths of this process will be unexplained."""

    path: str
    why: str


class ChannelUnusable(NamedTuple):
    """An actor cannot be called by its socket: whoever calls it takes the way through Ray."""

    path: str
    why: str


class HeraldBroke(NamedTuple):
    """The Herald had to stop reading what happens to jobs; it goes on from where it was."""

    why: str


class EventsMissing(NamedTuple):
    """MongoDB's log does not reach back to where the Herald was: there are changes with no events."""

    after: int


class RetentionUnchanged(NamedTuple):
    """How long something is kept cannot be changed by the user that MongoDB knows us as."""

    collection: str


class DutyBroke(NamedTuple):
    """A duty of the Clerk met an error that nobody foresaw; it begins again after a while."""

    duty: str
    why: str


class ChildLost(NamedTuple):
    """A child process ended and nobody had killed it, or it could not be made ready."""

    why: str


class Waited(NamedTuple):
    """Something that must be known, or must be told, was not answered; it is tried again."""

    why: str
    tries: int


class ScheduleBroke(NamedTuple):
    """What is due of a schedule cannot be carried out, for a reason that may pass; it is tried again."""

    schedule: str
    why: str


class TimetableBroke(NamedTuple):
    """The timetable met an error that nobody foresaw; it goes on after a while."""

    why: str


class CourierBroke(NamedTuple):
    """The Courier met an error that nobody foresaw; it goes on, and the delivery is tried again."""

    why: str


class WebhookGivenUp(NamedTuple):
    """A webhook was not told how its job ended, and is not tried again."""

    job_id: str
    tries: int
    why: str


Event = (
    HandlersLoaded
    | HandlersDiffer
    | HandlersMissing
    | EpochTaken
    | DispatcherStoodDown
    | WorkerAttended
    | WorkerLost
    | WorkerDismissed
    | PoolResized
    | PoolsMissing
    | WorkerSilent
    | ActorFrozen
    | AttemptBroke
    | HandlerGoesOn
    | ProcessLost
    | RecorderUnusable
    | ChannelUnusable
    | HeraldBroke
    | EventsMissing
    | RetentionUnchanged
    | DutyBroke
    | ChildLost
    | Waited
    | ScheduleBroke
    | TimetableBroke
    | CourierBroke
    | WebhookGivenUp
)


def emit(event: Event, *, level: int = logging.INFO) -> None:
    """Log an event: its name as the message for people, its fields for machines."""
    fields = event._asdict()
    _logger.log(
        level,
        "%s %s",
        type(event).__name__,
        " ".join(f"{name}={value}" for name, value in fields.items()),
        extra={"event": type(event).__name__, "fields": fields},
    )
