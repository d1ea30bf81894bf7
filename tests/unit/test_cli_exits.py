"""Exit codes: each error and each end of a job has its own, and of several the worst is told."""

import itertools

import pytest

from hasty import errors
from hasty.cli.exits import Exit, of_error, of_status, worst
from hasty.cli.problems import document
from hasty.job import Status


def test_the_numbers_are_those_that_scripts_know():
    assert {code.name: int(code) for code in Exit} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "CANCELLED": 3,
        "REFUSED": 4,
        "TRY_LATER": 5,
        "NOT_FOUND": 6,
        "NOT_ALLOWED": 7,
        "NOT_ENDED": 8,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.JobRefused(code="rerun_window"), Exit.REFUSED),
        (errors.JobRefused(code="unfinished"), Exit.REFUSED),
        (errors.AlreadyEnded(), Exit.REFUSED),
        (errors.ScheduleExists(), Exit.REFUSED),
        (errors.Unreachable(), Exit.TRY_LATER),
        (errors.StoreUnavailable(), Exit.TRY_LATER),
        (errors.RateLimited(), Exit.TRY_LATER),
        (errors.BacklogFull(), Exit.TRY_LATER),
        (errors.UnknownJob(), Exit.NOT_FOUND),
        (errors.UnknownObject(), Exit.NOT_FOUND),
        (errors.UnknownHandler(), Exit.NOT_FOUND),
        (errors.UnknownPool(), Exit.NOT_FOUND),
        (errors.UnknownSchedule(), Exit.NOT_FOUND),
        (errors.Unauthorized(), Exit.NOT_ALLOWED),
        (errors.Forbidden(), Exit.NOT_ALLOWED),
        (errors.WaitTimeout(), Exit.NOT_ENDED),
        (errors.JobFailed(), Exit.FAILED),
        (errors.JobCancelled(), Exit.CANCELLED),
        (errors.InvalidRequest("payload: is missing"), Exit.USAGE),
        (errors.PayloadTooLarge(), Exit.USAGE),
        (errors.NotHasty(), Exit.USAGE),
        (errors.CannotStart(), Exit.USAGE),
        (errors.AlreadyRunning(), Exit.USAGE),
        (errors.HastyError(), Exit.FAILED),
    ],
    ids=lambda value: value.code if isinstance(value, errors.HastyError) else value.name,
)
def test_each_error_has_its_code(error, code):
    assert of_error(error) is code
    assert document(error, code)["exit_code"] == code


def test_a_code_that_only_a_newer_hasty_knows_is_that_of_its_kind():
    error = errors.FixTheRequest()
    error.code = "unknown_universe"
    assert of_error(error) is Exit.NOT_FOUND
    error.code = "not_found"
    assert of_error(error) is Exit.NOT_FOUND
    error.code = "too_purple"
    assert of_error(error) is Exit.USAGE


def test_how_a_job_ended_is_a_code_and_that_it_has_not_is_no_fault():
    codes = {status: of_status(status) for status in Status}
    ended = {Status.FINISHED: Exit.OK, Status.FAILED: Exit.FAILED, Status.CANCELLED: Exit.CANCELLED}
    assert codes == dict.fromkeys(Status, Exit.OK) | ended


def test_of_several_the_worst_is_told_whatever_their_order():
    for pair in itertools.permutations([Exit.OK, Exit.CANCELLED, Exit.FAILED, Exit.TRY_LATER], 2):
        assert worst(pair) is worst(reversed(pair))
        assert worst(pair) is not Exit.OK
    assert worst([Exit.CANCELLED, Exit.FAILED]) is Exit.FAILED
    assert worst([Exit.FAILED, Exit.TRY_LATER]) is Exit.TRY_LATER
    assert worst([Exit.OK, Exit.OK]) is Exit.OK
    assert worst([]) is Exit.OK
    assert all(worst([code]) is code for code in Exit)
