"""The tree of errors says what the caller should do."""

import importlib
import inspect
import itertools
import pkgutil

import pytest

import hasty.errors
from hasty.errors import (
    CannotStart,
    Draining,
    HastyError,
    InvalidRequest,
    Overloaded,
    StoreUnavailable,
    Superseded,
    TryAgainLater,
    UnknownJob,
    Unreachable,
)

_INDENT = 4


def drawn():
    """Read the tree in the docstring: each error's name and its parent's."""
    parents, path = {}, {}
    lines = [line for line in hasty.errors.__doc__.splitlines() if "─" in line or line == "HastyError"]
    for line in lines:
        name = line.strip("│├└─ ").split()[0]
        depth = line.index(name) // _INDENT
        path[depth] = name
        parents[name] = path[depth - 1] if depth else None
    return parents


def defined():
    classes = {name: cls for name, cls in vars(hasty.errors).items() if inspect.isclass(cls)}
    return {name: cls.__mro__[1].__name__ if cls is not HastyError else None for name, cls in classes.items()}


def test_the_tree_is_as_it_is_drawn():
    assert drawn() == defined()
    assert drawn() == {
        "HastyError": None,
        "FixTheRequest": "HastyError",
        "BodyTooLarge": "FixTheRequest",
        "NotJson": "FixTheRequest",
        "InvalidRequest": "FixTheRequest",
        "PayloadTooLarge": "FixTheRequest",
        "UnknownHandler": "FixTheRequest",
        "UnknownJob": "FixTheRequest",
        "UnknownObject": "FixTheRequest",
        "UnknownPool": "FixTheRequest",
        "EventsOff": "FixTheRequest",
        "NoWebhook": "FixTheRequest",
        "UnknownSchedule": "FixTheRequest",
        "ScheduleExists": "FixTheRequest",
        "TooManySchedules": "FixTheRequest",
        "AlreadyEnded": "FixTheRequest",
        "IdempotencyKeyReused": "FixTheRequest",
        "Unauthorized": "FixTheRequest",
        "Forbidden": "FixTheRequest",
        "NotVerified": "FixTheRequest",
        "NotHasty": "FixTheRequest",
        "JobRefused": "HastyError",
        "TryAgainLater": "HastyError",
        "StoreUnavailable": "TryAgainLater",
        "Unreachable": "TryAgainLater",
        "Overloaded": "TryAgainLater",
        "BacklogFull": "TryAgainLater",
        "RateLimited": "TryAgainLater",
        "Draining": "TryAgainLater",
        "WrongVersion": "TryAgainLater",
        "WaitTimeout": "HastyError",
        "NoResult": "HastyError",
        "JobFailed": "NoResult",
        "JobCancelled": "NoResult",
        "HandlerFailed": "HastyError",
        "HandlerRaised": "HandlerFailed",
        "ChildDied": "HandlerFailed",
        "FixTheHandler": "HastyError",
        "BadResult": "FixTheHandler",
        "Superseded": "HastyError",
        "HistoryLost": "HastyError",
        "CannotStart": "HastyError",
        "AlreadyRunning": "CannotStart",
    }


ALL = [getattr(hasty.errors, name) for name in defined()]


def test_no_error_of_hasty_is_missing_from_the_tree():
    def below(error):
        return {error, *itertools.chain(*(below(child) for child in error.__subclasses__()))}

    modules = [module.name for module in pkgutil.walk_packages(hasty.__path__, "hasty.")]
    for name in modules:
        if not name.startswith(("hasty.cluster", "hasty.bench")) and not name.endswith("__main__"):
            importlib.import_module(name)
    ours = {error.__name__ for error in below(HastyError) if error.__module__.startswith("hasty.")}
    assert ours == set(drawn())


def test_each_error_has_a_code_of_its_own():
    assert len({error.code for error in ALL}) == len(ALL)


@pytest.mark.parametrize("error", ALL)
def test_without_a_message_an_error_says_what_its_class_means(error):
    assert str(error()) == error.__doc__
    assert str(error(None)) == str(error("")) == error.__doc__
    assert str(error("the disk is full")) == "the disk is full"


def test_an_error_without_a_docstring_says_its_code():
    class Undocumented(HastyError):
        code = "undocumented"

    assert str(Undocumented()) == "undocumented"


def test_an_invalid_request_says_what_is_wrong_with_each_field():
    error = InvalidRequest(complaints=(("payload.width", "must be a number"), ("object_id", "is missing")))
    assert str(error) == "payload.width: must be a number; object_id: is missing"


def test_what_may_succeed_later_says_when_to_come_back():
    assert {error.__name__: error().retry_after_s for error in ALL if issubclass(error, TryAgainLater)} == {
        "TryAgainLater": 1,
        "StoreUnavailable": 2,
        "Unreachable": 1,
        "Overloaded": 1,
        "BacklogFull": 10,
        "RateLimited": 1,
        "Draining": 10,
        "WrongVersion": 1,
    }


@pytest.mark.parametrize("error", [StoreUnavailable, Unreachable, Overloaded, Draining])
def test_nobody_who_handles_what_may_succeed_later_stops_a_superseded_actor(error):
    assert not issubclass(error, Superseded)
    assert not issubclass(Superseded, TryAgainLater)


def test_the_messages_people_meet_most():
    assert str(UnknownJob()) == "There is no job with this id."
    assert str(Superseded()) == "A newer epoch exists; whoever gets this must stop acting."
    assert str(CannotStart("no mongod found")) == "no mongod found"
