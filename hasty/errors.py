"""Every error hasty raises, sorted by what the caller should do about it.

HastyError
├── FixTheRequest          the request can never succeed as it is
│   ├── BodyTooLarge       there is more of it than is read
│   ├── NotJson            the body cannot be read at all
│   ├── InvalidRequest     a field of it is not what it must be
│   ├── PayloadTooLarge    what it asks to keep is longer than hasty keeps
│   ├── UnknownHandler     nobody registered a handler under this name
│   ├── UnknownJob         nobody ever acknowledged a job with this id
│   └── UnknownPool        no pool has this name
├── TryAgainLater          nothing is wrong with the request; the system is not ready for it
│   ├── StoreUnavailable   MongoDB gave no clear answer: the write may or may not have happened
│   ├── Unreachable        an actor gave no answer: it may or may not have acted
│   ├── Overloaded         a bounded queue is full
│   ├── Draining           this system takes no new jobs because it is stopping
│   └── WrongVersion       a process of another release spoke; one of the two is about to be replaced
├── HandlerFailed          a handler's own doing, outside this process: it is the outcome of an attempt
│   ├── HandlerRaised      the function raised, or returned what is no result
│   └── ChildDied          its process ended under it
├── FixTheHandler          a user's handler can never do as it is written
│   └── BadResult          it returned what cannot be its result
├── CannotStart            the operator must change something before hasty can run
│   └── AlreadyRunning     another hasty holds the data folder
└── Superseded             a newer epoch exists: whoever gets this must stop acting
"""

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


class UnknownPool(FixTheRequest):
    """There is no pool with this name."""

    code = "unknown_pool"


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


class Draining(TryAgainLater):
    """This system is stopping and takes no new jobs."""

    code = "draining"
    retry_after_s = 10


class WrongVersion(TryAgainLater):
    """A process of another release of hasty spoke; restart the older one."""

    code = "wrong_version"


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
