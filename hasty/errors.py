"""Every error hasty raises, sorted by what the caller should do about it.

HastyError
├── FixTheRequest             the request can never succeed as it is
│   ├── BodyTooLarge          there is more of it than is read
│   ├── NotJson               the body cannot be read at all
│   ├── InvalidRequest        a field of it is not what it must be
│   ├── PayloadTooLarge       what it asks to keep is longer than hasty keeps
│   ├── UnknownHandler        nobody registered a handler under this name
│   ├── UnknownJob            nobody ever acknowledged a job with this id
│   ├── UnknownObject         no job was ever accepted for this object, or none is kept
│   ├── UnknownPool           no pool has this name
│   ├── EventsOff             no events are kept, so that there are none to follow
│   ├── NoWebhook             the job tells nobody how it ended
│   ├── UnknownSchedule       no schedule has this name
│   ├── ScheduleExists        another schedule has this name
│   ├── TooManySchedules      there are as many schedules as there may be
│   ├── AlreadyEnded          the job ended before it could be cancelled
│   ├── IdempotencyKeyReused  the key came before, with another request
│   ├── Unauthorized          there is no API key, or one that is not valid
│   ├── Forbidden             the API key is valid, but not for this
│   ├── NotVerified           what came as a webhook is not from whom it says, or is old
│   └── NotHasty              what answers at the address is no hasty that this client understands
├── JobRefused                the object's newest job stands in the way: take that one, or come back
├── TryAgainLater             nothing is wrong with the request; the system is not ready for it
│   ├── StoreUnavailable      MongoDB gave no clear answer: the write may or may not have happened
│   ├── Unreachable           an actor gave no answer: it may or may not have acted
│   ├── Overloaded            a bounded queue is full
│   ├── BacklogFull           as many jobs wait as may wait
│   ├── RateLimited           this API key has asked too often
│   ├── Draining              this system takes no new jobs because it is stopping
│   └── WrongVersion          a process of another release spoke; one of the two is about to be replaced
├── WaitTimeout               the job has not ended yet: wait again, or let it be
├── NoResult                  the job has ended, and there is nothing to return: its error says why
│   ├── JobFailed             its handler failed for good
│   └── JobCancelled          somebody cancelled it, or its time was over
├── HandlerFailed             a handler's own doing, outside this process: it is the outcome of an attempt
│   ├── HandlerRaised         the function raised, or returned what is no result
│   └── ChildDied             its process ended under it
├── FixTheHandler             a user's handler can never do as it is written
│   └── BadResult             it returned what cannot be its result
├── CannotStart               the operator must change something before hasty can run
│   └── AlreadyRunning        another hasty holds the data folder
├── Superseded                a newer epoch exists: whoever gets this must stop acting
└── HistoryLost               what happened meanwhile is known no more: whoever gets this must begin anew
"""

import typing

#: What is wrong with one field of something. The field is told by its path: `payload.width`.
Complaint = tuple[str, str]


class HastyError(Exception):
    """Something went wrong in hasty."""

    code = "hasty_error"

    def __init__(self, message: str | None = None) -> None:
        """Take a message for people; without one, the docstring speaks."""
        super().__init__(message or (self.__doc__ or self.code).strip())


class FixTheRequest(HastyError):
    """The request can never succeed as it is."""

    code = "bad_request"


class BodyTooLarge(FixTheRequest):
    """The body is larger than 1 MiB."""

    code = "body_too_large"


class NotJson(FixTheRequest):
    """The body is not JSON."""

    code = "not_json"


class InvalidRequest(FixTheRequest):
    """A field of the request is not what it must be."""

    code = "invalid_request"

    def __init__(self, message: str | None = None, complaints: tuple[Complaint, ...] = ()) -> None:
        """Take what is wrong, field by field; it is the message where there is no other."""
        super().__init__(message or "; ".join(f"{field}: {what}" for field, what in complaints))
        self.complaints = complaints


class PayloadTooLarge(FixTheRequest):
    """The payload is longer than 256 KiB of JSON."""

    code = "payload_too_large"


class UnknownHandler(FixTheRequest):
    """There is no handler with this name."""

    code = "unknown_handler"

    def __init__(self, message: str | None = None, known: tuple[str, ...] = ()) -> None:
        """Take the names of the handlers that there are."""
        super().__init__(message)
        self.known = known


class UnknownJob(FixTheRequest):
    """There is no job with this id."""

    code = "unknown_job"


class UnknownObject(FixTheRequest):
    """There is no job for this object."""

    code = "unknown_object"


class UnknownPool(FixTheRequest):
    """There is no pool with this name."""

    code = "unknown_pool"


class NoWebhook(FixTheRequest):
    """The job has no webhook: nobody is told how it ended."""

    code = "no_webhook"


class EventsOff(FixTheRequest):
    """Events are switched off: `event_retention_s` is 0."""

    code = "events_off"


class UnknownSchedule(FixTheRequest):
    """There is no schedule with this name."""

    code = "unknown_schedule"


class ScheduleExists(FixTheRequest):
    """There is a schedule with this name, and it is another one."""

    code = "schedule_exists"


class TooManySchedules(FixTheRequest):
    """There are as many schedules as there may be: delete some."""

    code = "too_many_schedules"


class AlreadyEnded(FixTheRequest):
    """The job ended before it could be cancelled."""

    code = "already_ended"

    def __init__(self, message: str | None = None, *, job_id: str = "", job_status: str = "") -> None:
        """Take the job, and how it ended."""
        super().__init__(message)
        self.job_id = job_id
        self.job_status = job_status


class IdempotencyKeyReused(FixTheRequest):
    """This idempotency key came before, with another request."""

    code = "idempotency_key_reused"


class Unauthorized(FixTheRequest):
    """An API key is needed, and there is none, or it is not valid."""

    code = "unauthorized"


class Forbidden(FixTheRequest):
    """This API key does not allow that."""

    code = "forbidden"

    def __init__(self, message: str | None = None, *, scope: str = "") -> None:
        """Take the scope that is needed."""
        super().__init__(message)
        self.scope = scope


class NotVerified(FixTheRequest):
    """What came as a webhook is not from whom it says, or is old."""

    code = "not_verified"


class NotHasty(FixTheRequest):
    """What answers at this address is no hasty that this client understands."""

    code = "not_hasty"


class JobRefused(HastyError):
    """The object's newest job stands in the way."""

    code = "job_refused"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        job_id: str = "",
        retry_after: float = 0,
        job: typing.Any = None,
    ) -> None:
        """Take the reason as `code`, the job in the way, and for how many seconds it is.

        `job` is that job as it stood, where it is known: a `hasty.client.Job`.
        """
        told = code and f"{code}: job {job_id} stands in the way for {retry_after:g} s"
        super().__init__(message or told)
        self.code = code or type(self).code
        self.job_id = job_id
        self.retry_after = retry_after
        self.job = job


class TryAgainLater(HastyError):
    """The system is not ready for this request; the same request may succeed later."""

    code = "try_again_later"
    retry_after_s = 1


class StoreUnavailable(TryAgainLater):
    """MongoDB gave no clear answer; what was asked may or may not have happened."""

    code = "store_unavailable"
    retry_after_s = 2


class Unreachable(TryAgainLater):
    """An actor gave no answer; what was asked may or may not have happened."""

    code = "unreachable"


class Overloaded(TryAgainLater):
    """Too much is waiting already; nothing was queued."""

    code = "overloaded"


class BacklogFull(TryAgainLater):
    """As many jobs wait as may wait; nothing was accepted."""

    code = "backlog_full"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 10) -> None:
        """Take after how many seconds it is known better."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(TryAgainLater):
    """This API key has asked too often."""

    code = "rate_limited"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        """Take when it may ask again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Draining(TryAgainLater):
    """This system is stopping and takes no new jobs."""

    code = "draining"
    retry_after_s = 10


class WrongVersion(TryAgainLater):
    """A process of another release of hasty spoke; restart the older one."""

    code = "wrong_version"


class WaitTimeout(HastyError, TimeoutError):
    """The job has not ended yet."""

    code = "wait_timeout"

    def __init__(self, message: str | None = None, *, job: typing.Any = None) -> None:
        """Take the job as it stood last: a `hasty.client.Job`."""
        super().__init__(message)
        self.job = job


class NoResult(HastyError):
    """The job has ended without a result."""

    code = "no_result"

    def __init__(self, message: str | None = None, *, job: typing.Any = None) -> None:
        """Take the job: a `hasty.client.Job`."""
        super().__init__(message)
        self.job = job


class JobFailed(NoResult):
    """The job has failed."""

    code = "job_failed"


class JobCancelled(NoResult):
    """The job was cancelled."""

    code = "job_cancelled"


class HandlerFailed(HastyError):
    """A handler failed in a process of its own."""

    code = "handler_failed"


class HandlerRaised(HandlerFailed):
    """A handler raised an error, which may be of a class that exists only where it ran."""

    code = "handler_raised"

    def __init__(self, message: str | None = None, *, kind: str = "Exception") -> None:
        """Take what the error said of itself, as `text`; `kind` is the name of its class."""
        super().__init__(message)
        self.kind = kind
        self.text = message or ""


class ChildDied(HandlerFailed):
    """The process in which a handler ran has ended under it."""

    code = "child_died"

    def __init__(self, message: str | None = None, *, exit_code: int | None = None) -> None:
        """Take the cause for people; `exit_code` is negative for a signal, None if no process ever ran."""
        super().__init__(message)
        self.exit_code = exit_code


class FixTheHandler(HastyError):
    """A function cannot be a handler as it is written; the message says what to change."""

    code = "bad_handler"


class BadResult(FixTheHandler):
    """A handler returned what cannot be its result."""

    code = "bad_result"


class CannotStart(HastyError):
    """Something outside hasty must change before it can run; the message says what."""

    code = "cannot_start"


class AlreadyRunning(CannotStart):
    """Another hasty holds the data folder."""

    code = "already_running"


class Superseded(HastyError):
    """A newer epoch exists; whoever gets this must stop acting."""

    code = "superseded"


class HistoryLost(HastyError):
    """What happened meanwhile is known no more; whoever gets this must begin anew."""

    code = "history_lost"
