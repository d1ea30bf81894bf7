"""What actors say to each other."""

import inspect
from enum import Enum

import pytest

import hasty.messages
from hasty.errors import WrongVersion
from hasty.job import Outcome, Progress, Status, Token, Window, Work
from hasty.messages import (
    VERSION,
    Admit,
    Attend,
    Cancel,
    Enqueue,
    Follow,
    Report,
    Run,
    Scale,
    Stop,
    check_version,
)
from tests.unit.examples import a_work

#: The words of every version that was released or is about to be, and their fields. Whoever changes a
#: word of a release raises VERSION and writes the new words down here; the older ones stay, so that a
#: number never means two things.
VOCABULARIES = {
    1: {
        "Accepted": "work",
        "Admit": "requests version",
        "Admitted": "answers",
        "Attend": "epoch met version",
        "Attendance": "worker boot slots process unfit running",
        "Process": "node pid started",
        "Declined": "job_id token",
        "Ended": "job_id outcome",
        "Enqueue": "works version",
        "Forward": "work token",
        "Health": "name problem running queued",
        "Outcome": "status ended_at result error attempt started_at worker",
        "Reason": "rerun_window unfinished",
        "Refused": "reason job_id retry_after_s",
        "Report": "worker boot started ended declined version",
        "Request": ("job_id object_id handler timeout_s rerun_window_s payload priority idempotency_key"),
        "Run": "epoch forwards version",
        "Started": "job_id worker attempt at",
        "Status": "scheduled queued running finished failed cancelled",
        "Token": "epoch seq",
        "Unknown": "why",
        "Work": "job_id object_id run handler payload priority accepted_at timeout_s",
    },
    2: {
        "Accepted": "work",
        "Admit": "requests version",
        "Admitted": "answers",
        "Attend": "epoch met version",
        "Attendance": "worker boot slots process unfit generation handlers running",
        "Cancel": "job_id reason version",
        "Cancelled": "status by_cancel",
        "Process": "node pid started",
        "Declined": "job_id token",
        "Deferred": "job_id token attempt run_at error",
        "Ended": "job_id outcome",
        "Enqueue": "works version",
        "Forward": "work token",
        "Health": "name problem running queued",
        "Outcome": "status ended_at result error attempt started_at worker opens_at",
        "PoolState": (
            "name min_workers max_workers workers pinned present outdated running queued oldest_wait_s"
        ),
        "Pools": "generation pools",
        "Progress": "at fraction message",
        "Progressed": "job_id progress",
        "Reason": "rerun_window unfinished",
        "Refused": "reason job_id retry_after_s",
        "Report": "worker boot started ended declined deferred progressed version",
        "Request": (
            "job_id object_id handler timeout_s window payload priority pool queue_timeout_s idempotency_key"
        ),
        "Run": "epoch forwards version",
        "Scale": "pool workers version",
        "Started": "job_id worker attempt at",
        "Status": "scheduled queued running finished failed cancelled",
        "Stop": "ends version",
        "Token": "epoch seq",
        "Unknown": "why",
        "Window": "seconds from_end after",
        "Work": "job_id object_id run handler payload priority accepted_at timeout_s pool window",
    },
    3: {
        "Accepted": "work due_at replayed",
        "Admit": "requests version",
        "Admitted": "answers",
        "Attached": "job_id replayed",
        "Attend": "epoch met version",
        "Attendance": "worker boot slots process unfit generation handlers running",
        "Cancel": "job_id reason version",
        "Cancelled": "status by_cancel",
        "Declined": "job_id token",
        "Deferred": "job_id token attempt run_at error",
        "Ended": "job_id outcome",
        "Enqueue": "works version",
        "Event": "seq type at job_id object_id handler status attempt progress error",
        "EventType": (
            "job.scheduled job.queued job.running job.progress job.finished job.failed job.cancelled gap"
        ),
        "Follow": "after wait_s version",
        "Followed": "events last missed deaf ending",
        "Forward": "work token",
        "Full": "retry_after_s",
        "Health": "name problem running queued",
        "KeyReused": "job_id",
        "OnConflict": "reject attach replace after",
        "Outcome": "status ended_at result error attempt started_at worker opens_at",
        "PoolState": (
            "name min_workers max_workers workers pinned present outdated running queued oldest_wait_s"
        ),
        "Pools": "generation pools",
        "Process": "node pid started",
        "Progress": "at fraction message",
        "Progressed": "job_id progress",
        "Reason": "rerun_window unfinished",
        "Refused": "reason job_id retry_after_s",
        "Report": "worker boot started ended declined deferred progressed version",
        "Request": (
            "job_id object_id handler timeout_s window payload priority pool queue_timeout_s "
            "on_conflict force run_at delay_s labels webhook idempotency_key fingerprint"
        ),
        "Run": "epoch forwards version",
        "Scale": "pool workers version",
        "Started": "job_id worker attempt at",
        "Status": "scheduled queued running finished failed cancelled",
        "Stop": "ends version",
        "Token": "epoch seq",
        "Unknown": "why",
        "Window": "seconds from_end after not_before",
        "Work": ("job_id object_id run handler payload priority accepted_at timeout_s pool window"),
    },
}


def spoken():
    """Find what can be in a message: the classes of `hasty.messages`, and the words they are made of."""
    classes = {
        name: cls
        for name, cls in vars(hasty.messages).items()
        if inspect.isclass(cls) and cls.__module__ == "hasty.messages"
    }
    return classes | {cls.__name__: cls for cls in (Outcome, Progress, Status, Token, Window, Work)}


def fields(cls):
    return " ".join(cls) if issubclass(cls, Enum) else " ".join(cls._fields)


def test_a_change_of_the_vocabulary_raises_its_version():
    assert {name: fields(cls) for name, cls in spoken().items()} == VOCABULARIES[VERSION]
    assert max(VOCABULARIES) == VERSION


@pytest.mark.parametrize("cls", [cls for cls in spoken().values() if not issubclass(cls, Enum)])
def test_a_message_cannot_be_changed(cls):
    message = cls(*("x" for _ in cls._fields))
    assert isinstance(message, tuple)
    for name in cls._fields:
        with pytest.raises(AttributeError):
            setattr(message, name, "y")
    with pytest.raises(AttributeError):
        message.unheard_of = "y"


@pytest.mark.parametrize(
    "message",
    [
        Admit(()),
        Enqueue((a_work(),)),
        Report("worker-1", 1),
        Attend(3),
        Run(3, ()),
        Stop(()),
        Cancel("job-1", "no longer needed"),
        Scale("default", 3),
        Follow(7, 1.0),
    ],
)
def test_what_one_actor_asks_of_another_carries_the_version(message):
    assert message.version == VERSION
    check_version(message.version)


def test_each_message_that_carries_a_version_is_checked_above():
    carriers = {name for name, cls in spoken().items() if "version" in fields(cls).split()}
    assert carriers == {"Admit", "Enqueue", "Report", "Attend", "Run", "Stop", "Cancel", "Scale", "Follow"}


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 1])
def test_another_release_is_refused_in_plain_words(version):
    with pytest.raises(WrongVersion) as refused:
        check_version(version)
    assert str(refused.value) == (
        f"a message of version {version} met hasty's version {VERSION}: restart the older process"
    )
