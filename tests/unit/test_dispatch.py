"""Who runs what, when."""

import itertools

import pytest

from hasty.autoscale import Load
from hasty.dispatch import (
    CAPACITY,
    SWEEP_EVERY_S,
    Attended,
    Closed,
    Dismiss,
    Dismissed,
    Dispatch,
    Drained,
    Halt,
    Lost,
    Mark,
    Offered,
    Planned,
    Postpone,
    Postponed,
    Send,
    Settle,
    Settled,
    Sweep,
    SweepFailed,
    Swept,
    Ticked,
    Tokens,
    Unanswered,
)
from hasty.job import Outcome, Status, Token
from hasty.messages import Declined, Deferred, Ended, Forward, Started
from hasty.pools import DEFAULT_POOL
from tests.unit.examples import NOW, a_work, after

DONE = Outcome(Status.FINISHED, after(9), {"sleep_time_used": 9}, None, 1, NOW, "a")


def works(count, start=0):
    """Jobs in the order of their age: job-0 is the oldest."""
    return tuple(
        a_work(f"job-{n}", object_id=str(n), accepted_at=after(n)) for n in range(start, start + count)
    )


def ids(of):
    return [work.job_id for work in of]


def a_machine(capacity=CAPACITY, **slots):
    """A machine whose workers, named with their slots, have all attended; MongoDB had nothing for them."""
    machine = Dispatch(Tokens(7), slots, capacity=capacity)
    for worker, count in slots.items():
        attend(machine, worker, count)
    machine.handle(Swept((), True), 0.0)
    return machine


def attend(machine, worker, slots, boot=1, running=(), *, unfit=False, generation=0):
    return machine.handle(Attended(worker, boot, slots, tuple(running), unfit, generation), 0.0)


def plan(machine, *workers, generation=0):
    """Want these workers from now on."""
    return machine.handle(Planned(workers, generation), 0.0)


def offer(machine, *offered):
    return machine.handle(Offered(offered), 0.0)


def settle(machine, *job_ids):
    for job_id in job_ids:
        machine.handle(Ended(job_id, DONE), 0.0)
    return machine.handle(Settled(job_ids), 0.0)


def sent(commands):
    """Which jobs go where, in the order of the commands."""
    return [
        (command.worker, [forward.work.job_id for forward in command.forwards])
        for command in commands
        if isinstance(command, Send)
    ]


def tokens(commands):
    return {
        forward.work.job_id: forward.token
        for command in commands
        if isinstance(command, Send)
        for forward in command.forwards
    }


def sweeps(commands):
    return [command for command in commands if isinstance(command, Sweep)]


# Before the first job is sent ------------------------------------------------------------------


def test_nothing_is_sent_before_every_expected_worker_was_heard():
    machine = Dispatch(Tokens(7), ["a", "b"])
    (job,) = works(1)
    assert offer(machine, job) == []
    assert attend(machine, "a", 10) == []
    assert not machine.ready
    assert sent(attend(machine, "b", 10)) == [("a", ["job-0"])]
    assert machine.ready


def test_a_lost_worker_is_not_waited_for():
    machine = Dispatch(Tokens(7), ["a", "b"])
    offer(machine, *works(1))
    attend(machine, "a", 10)
    assert sent(machine.handle(Lost("b"), 0.0)) == [("a", ["job-0"])]


def test_while_all_workers_are_lost_jobs_wait_and_nobody_calls_it_ready():
    machine = Dispatch(Tokens(7), ["a", "b"])
    offer(machine, *works(1))
    machine.handle(Lost("a"), 0.0)
    assert sent(machine.handle(Lost("b"), 0.0)) == []
    assert not machine.ready
    assert machine.queued == 1
    assert sent(attend(machine, "b", 10, boot=2)) == [("b", ["job-0"])]
    assert machine.ready


def test_the_backlog_is_not_read_before_it_is_known_what_runs():
    machine = Dispatch(Tokens(7), ["a"])
    assert machine.handle(Ticked(), 100.0) == []
    offer(machine, *works(1))
    job_ids = frozenset(["job-0", "job-1"])
    running = works(1, start=1)
    assert attend(machine, "a", 1, running=running)[1:] == [Sweep(DEFAULT_POOL, job_ids, CAPACITY)]
    assert machine.handle(Ticked(), 100.0) == []


def test_what_runs_already_is_found_there_and_not_started_again():
    machine = Dispatch(Tokens(7), ["a", "b"])
    one, two, three = works(3)
    assert attend(machine, "a", 10, running=[two]) == [Send("a", (Forward(two, Token(7, 1)),))]
    assert attend(machine, "b", 10) == [Sweep(DEFAULT_POOL, frozenset(["job-1"]), CAPACITY)]
    assert (machine.queued, machine.running) == (0, 1)
    assert machine.handle(Swept((one, two, three), True), 0.0) == [
        Send("b", (Forward(one, Token(7, 2)), Forward(three, Token(7, 3))))
    ]


def test_a_job_that_was_queued_before_it_is_known_to_run_is_left_where_it_runs():
    machine = Dispatch(Tokens(7), ["a", "b"])
    one, two = works(2)
    offer(machine, one, two)
    assert sent(attend(machine, "a", 10, running=[one])) == [("a", ["job-0"])]
    assert (machine.queued, machine.running) == (1, 1)
    assert sent(attend(machine, "b", 10)) == [("b", ["job-1"])]
    assert (machine.queued, machine.running) == (0, 2)
    assert settle(machine, "job-0", "job-1") == []
    assert (machine.queued, machine.running) == (0, 0)


def test_a_job_that_two_workers_run_stays_with_the_first_that_was_heard():
    machine = Dispatch(Tokens(7), ["a", "b"])
    (job,) = works(1)
    assert sent(attend(machine, "a", 10, running=[job])) == [("a", ["job-0"])]
    assert sent(attend(machine, "b", 10, running=[job])) == []
    assert machine.holds("a", ["job-0"])
    assert not machine.holds("b", ["job-0"])


def test_jobs_that_run_already_take_slots():
    machine = Dispatch(Tokens(7), ["a"])
    attend(machine, "a", 2, running=works(2))
    assert offer(machine, *works(1, start=2)) == []
    assert sent(settle(machine, "job-1")) == [("a", ["job-2"])]


def test_a_worker_that_runs_more_than_its_slots_gets_nothing_until_one_is_free():
    machine = Dispatch(Tokens(7), ["a"])
    attend(machine, "a", 2, running=works(4))
    offer(machine, *works(1, start=4))
    assert settle(machine, "job-0", "job-1") == []
    assert sent(settle(machine, "job-2")) == [("a", ["job-4"])]


# The order of the queue ------------------------------------------------------------------------


def test_the_oldest_job_goes_first_however_jobs_arrived():
    machine = Dispatch(Tokens(7), ["a"])
    for job in reversed(works(5)):
        offer(machine, job)
    assert sent(attend(machine, "a", 3)) == [("a", ["job-0", "job-1", "job-2"])]


def test_a_lower_priority_number_goes_before_age():
    machine = Dispatch(Tokens(7), ["a"])
    old, urgent, idle = a_work("old"), a_work("urgent", priority=-1), a_work("idle", priority=9)
    offer(machine, old, urgent._replace(accepted_at=after(99)), idle._replace(accepted_at=after(-99)))
    assert sent(attend(machine, "a", 10)) == [("a", ["urgent", "old", "idle"])]


def test_of_two_jobs_of_one_millisecond_the_smaller_id_goes_first():
    machine = Dispatch(Tokens(7), ["a"])
    offer(machine, a_work("y"), a_work("z"), a_work("x"))
    assert sent(attend(machine, "a", 2)) == [("a", ["x", "y"])]


def test_a_job_that_is_offered_twice_is_sent_once():
    machine = a_machine(a=10)
    (job,) = works(1)
    assert sent(offer(machine, job, job)) == [("a", ["job-0"])]
    assert offer(machine, job) == []
    assert machine.handle(Swept((job,), True), 0.0) == []
    assert (machine.queued, machine.running) == (0, 1)


# Who gets how much -----------------------------------------------------------------------------


def test_a_small_batch_goes_whole_to_the_worker_with_most_room():
    machine = a_machine(a=50, b=60, c=55)
    assert sent(offer(machine, *works(32))) == [("b", ids(works(32)))]


def test_a_large_batch_is_spread():
    machine = a_machine(a=1000, b=1000)
    shares = {"a": 0, "b": 0}
    for worker, job_ids in sent(offer(machine, *works(200))):
        shares[worker] += len(job_ids)
    assert sum(shares.values()) == 200
    assert min(shares.values()) >= 68  # within one smallest share, 32, of the other


def test_one_message_carries_five_hundred_jobs_at_most():
    machine = a_machine(a=2_000)
    commands = offer(machine, *works(1_200))
    assert [job_id for _, job_ids in sent(commands) for job_id in job_ids] == ids(works(1_200))
    assert max(len(job_ids) for _, job_ids in sent(commands)) == 500
    again = attend(machine, "a", 2_000, boot=2)
    assert [len(job_ids) for _, job_ids in sent(again)] == [500, 500, 200]
    assert tokens(again) == tokens(commands)


def test_slots_are_respected_and_the_rest_waits():
    machine = a_machine(a=3, b=2)
    assert sent(offer(machine, *works(9))) == [
        ("a", ["job-0", "job-1", "job-2"]),
        ("b", ["job-3", "job-4"]),
    ]
    assert (machine.queued, machine.running) == (4, 5)


def test_a_worker_that_comes_later_draws_from_the_backlog_oldest_first():
    machine = a_machine(a=1)
    offer(machine, *works(4))
    assert plan(machine, "a", "b") == []
    assert sent(attend(machine, "b", 2)) == [("b", ["job-1", "job-2"])]


# Tokens ----------------------------------------------------------------------------------------


def test_tokens_grow_with_each_forward_under_the_epoch():
    machine = a_machine(a=10)
    commands = offer(machine, *works(3)) + offer(machine, *works(2, start=3))
    assert list(tokens(commands).values()) == [Token(7, n) for n in range(1, 6)]


def test_a_new_boot_gets_the_same_jobs_under_the_same_tokens():
    machine = a_machine(a=10)
    first = offer(machine, *works(3))
    assert attend(machine, "a", 10, boot=1) == []
    again = attend(machine, "a", 10, boot=2)
    assert sent(again) == [("a", ["job-0", "job-1", "job-2"])]
    assert tokens(again) == tokens(first)


def test_a_new_boot_brings_its_own_number_of_slots():
    machine = a_machine(a=2)
    offer(machine, *works(9))
    commands = attend(machine, "a", 5, boot=2)
    assert sent(commands) == [("a", ["job-0", "job-1"]), ("a", ["job-2", "job-3", "job-4"])]


def test_the_jobs_of_a_lost_worker_go_elsewhere_under_newer_tokens():
    machine = a_machine(a=2, b=9)
    attend(machine, "b", 9)
    first = offer(machine, *works(2))
    assert sent(first) == [("b", ["job-0", "job-1"])]
    elsewhere = machine.handle(Lost("b"), 0.0)
    assert sent(elsewhere) == [("a", ["job-0", "job-1"])]
    assert min(tokens(elsewhere).values()) > max(tokens(first).values())
    assert not machine.holds("b", ["job-0", "job-1"])


def test_the_jobs_of_a_lost_worker_keep_their_place_in_the_queue():
    machine = a_machine(a=1, b=2)
    offer(machine, *works(2))
    offer(machine, *works(3, start=2))
    machine.handle(Lost("b"), 0.0)
    assert (machine.queued, machine.running) == (4, 1)
    plan(machine, "a", "b", "c")
    assert sent(attend(machine, "c", 9)) == [("c", ["job-0", "job-1", "job-3", "job-4"])]


def test_a_lost_worker_that_is_heard_again_keeps_what_nobody_else_got():
    machine = a_machine(a=1, b=2)
    one, two = works(2)
    assert sent(offer(machine, one, two)) == [("b", ["job-0", "job-1"])]
    assert sent(machine.handle(Lost("b"), 0.0)) == [("a", ["job-0"])]
    back = attend(machine, "b", 2, running=[one, two])
    assert back == [Send("b", (Forward(two, Token(7, 4)),))]
    assert (machine.queued, machine.running) == (0, 2)
    assert machine.holds("a", ["job-0"])
    assert not machine.holds("b", ["job-0"])


def test_a_worker_lost_twice_is_lost_once():
    machine = a_machine(a=9, b=1)
    offer(machine, *works(1))
    assert sent(machine.handle(Lost("a"), 0.0)) == [("b", ["job-0"])]
    assert machine.handle(Lost("a"), 0.0) == []
    assert machine.holds("b", ["job-0"])


# Asking again ----------------------------------------------------------------------------------


def test_what_was_not_answered_is_sent_again_if_it_is_still_held_there():
    machine = a_machine(a=10, b=1)
    first = offer(machine, *works(3))
    settle(machine, "job-1")
    again = machine.handle(Unanswered("a", ("job-0", "job-1", "job-2", "unheard-of")), 0.0)
    assert sent(again) == [("a", ["job-0", "job-2"])]
    assert tokens(again) == {name: tokens(first)[name] for name in ("job-0", "job-2")}


def test_what_went_elsewhere_is_not_asked_of_its_old_worker():
    machine = a_machine(a=10, b=1)
    offer(machine, *works(1))
    machine.handle(Lost("a"), 0.0)
    assert machine.handle(Unanswered("a", ("job-0",)), 0.0) == []
    attend(machine, "a", 10, boot=2)
    assert machine.handle(Unanswered("a", ("job-0",)), 0.0) == []


def test_what_has_ended_is_not_asked_for():
    machine = a_machine(a=10)
    offer(machine, *works(2))
    machine.handle(Ended("job-0", DONE), 0.0)
    assert sent(machine.handle(Unanswered("a", ("job-0", "job-1")), 0.0)) == [("a", ["job-1"])]
    assert sent(attend(machine, "a", 10, boot=2)) == [("a", ["job-1"])]


# Starts and ends -------------------------------------------------------------------------------


def test_a_start_is_shown():
    machine = a_machine(a=10)
    offer(machine, *works(1))
    assert machine.handle(Started("job-0", "a", 3, after(1)), 0.0) == [Mark("job-0", "a", 3, after(1))]


def test_a_start_that_is_overtaken_by_its_end_or_unheard_of_is_not_shown():
    machine = a_machine(a=10)
    offer(machine, *works(1))
    machine.handle(Ended("job-0", DONE), 0.0)
    assert machine.handle(Started("job-0", "a", 1, after(1)), 0.0) == []
    assert machine.handle(Started("unheard-of", "a", 1, after(1)), 0.0) == []
    machine = Dispatch(Tokens(7), ["a"])
    offer(machine, *works(1))
    assert machine.handle(Started("job-0", "a", 1, after(1)), 0.0) == []


def test_the_start_of_an_attempt_that_went_elsewhere_since_is_not_shown():
    machine = a_machine(a=9, b=1)
    offer(machine, *works(1))
    machine.handle(Lost("a"), 0.0)
    assert machine.handle(Started("job-0", "b", 2, after(20)), 0.0) == [Mark("job-0", "b", 2, after(20))]
    assert machine.handle(Started("job-0", "a", 1, after(1)), 0.0) == []


def test_an_end_is_settled():
    machine = a_machine(a=10)
    offer(machine, *works(1))
    assert machine.handle(Ended("job-0", DONE), 0.0) == [Settle("job-0", DONE)]


def test_the_end_of_a_job_nobody_holds_is_settled_too():
    assert a_machine(a=10).handle(Ended("unheard-of", DONE), 0.0) == [Settle("unheard-of", DONE)]


def test_an_end_told_again_is_settled_again_and_frees_one_slot():
    machine = a_machine(a=1)
    offer(machine, *works(3))
    for _ in range(2):
        assert machine.handle(Ended("job-0", DONE), 0.0) == [Settle("job-0", DONE)]
    assert sent(machine.handle(Settled(("job-0",)), 0.0)) == [("a", ["job-1"])]
    assert machine.handle(Settled(("job-0",)), 0.0) == []
    assert (machine.queued, machine.running) == (1, 1)


def test_a_slot_is_free_only_when_the_end_is_written():
    machine = a_machine(a=1)
    offer(machine, *works(2))
    assert machine.handle(Ended("job-0", DONE), 0.0) == [Settle("job-0", DONE)]
    assert machine.handle(Ticked(), 5.0) == [Sweep(DEFAULT_POOL, frozenset({"job-0", "job-1"}), CAPACITY)]
    assert (machine.queued, machine.running) == (1, 1)
    assert sent(machine.handle(Settled(("job-0",)), 0.0)) == [("a", ["job-1"])]


def test_a_job_that_ended_while_it_was_queued_is_not_sent():
    machine = Dispatch(Tokens(7), ["a"])
    offer(machine, *works(2))
    assert machine.handle(Ended("job-0", DONE), 0.0) == [Settle("job-0", DONE)]
    assert machine.queued == 1
    assert sent(attend(machine, "a", 10)) == [("a", ["job-1"])]
    machine.handle(Settled(("job-0",)), 0.0)
    assert (machine.queued, machine.running) == (0, 1)


def test_a_job_that_ended_on_a_worker_that_was_lost_is_not_sent_again():
    machine = a_machine(a=1, b=9)
    offer(machine, *works(2))
    machine.handle(Ended("job-0", DONE), 0.0)
    assert sent(machine.handle(Lost("b"), 0.0)) == [("a", ["job-1"])]
    machine.handle(Settled(("job-0",)), 0.0)
    assert (machine.queued, machine.running) == (0, 1)


def test_a_settled_job_that_is_offered_or_found_late_is_not_queued_again():
    machine = a_machine(a=10)
    (job,) = works(1)
    offer(machine, job)
    settle(machine, "job-0")
    assert offer(machine, job) == []
    assert machine.handle(Swept((job,), True), 0.0) == []
    assert (machine.queued, machine.running) == (0, 0)


def test_a_job_that_is_found_between_the_news_of_its_end_and_its_settlement_goes_with_it():
    """Its Dispatcher took office after the job was sent, and had not heard of it."""
    machine = a_machine(a=1)
    busy, job, later = works(3)
    offer(machine, busy)
    machine.handle(Ended("job-1", DONE), 0.0)
    machine.handle(Swept((job,), True), 0.0)
    assert (machine.queued, machine.running) == (1, 1)
    machine.handle(Settled(("job-1",)), 0.0)
    assert (machine.queued, machine.running) == (0, 1)
    plan(machine, "a", "b")
    assert attend(machine, "b", 1) == []
    assert sent(offer(machine, later)) == [("b", ["job-2"])]


def test_twenty_thousand_ends_are_remembered_and_no_more():
    machine = a_machine(a=30_000)
    offer(machine, *works(1))
    settle(machine, "job-0")
    for start in range(1, 20_000, 1_000):
        machine.handle(Settled(tuple(ids(works(1_000, start)))), 0.0)
    assert len(machine._recent) == 20_000
    assert sent(offer(machine, *works(2))) == [("a", ["job-0"])]


# Declined --------------------------------------------------------------------------------------


def test_a_declined_job_is_let_go_and_its_slot_is_free():
    machine = a_machine(a=1)
    given = tokens(offer(machine, *works(2)))
    assert sent(machine.handle(Declined("job-0", given["job-0"]), 0.0)) == [("a", ["job-1"])]
    assert not machine.holds("a", ["job-0"])


def test_a_declined_job_comes_back_with_a_sweep_under_a_newer_token():
    machine = a_machine(a=1)
    one, _ = works(2)
    given = tokens(offer(machine, one))
    machine.handle(Declined("job-0", given["job-0"]), 0.0)
    (sweep,) = sweeps(machine.handle(Ticked(), 5.0))
    assert sweep.skip == frozenset()
    again = machine.handle(Swept((one,), True), 5.0)
    assert tokens(again) == {"job-0": Token(7, 2)}


def test_declining_an_older_token_changes_nothing():
    machine = a_machine(a=1, b=9)
    first = tokens(offer(machine, *works(1)))
    machine.handle(Lost("b"), 0.0)
    assert machine.handle(Declined("job-0", first["job-0"]), 0.0) == []
    assert machine.holds("a", ["job-0"])


def test_declining_what_has_ended_or_is_unheard_of_changes_nothing():
    machine = a_machine(a=1)
    given = tokens(offer(machine, *works(2)))
    machine.handle(Ended("job-0", DONE), 0.0)
    assert machine.handle(Declined("job-0", given["job-0"]), 0.0) == []
    assert machine.handle(Declined("unheard-of", given["job-0"]), 0.0) == []
    assert machine.holds("a", ["job-0"])


# Draining --------------------------------------------------------------------------------------


def test_draining_sends_nothing_new_and_reads_nothing():
    machine = a_machine(a=2, b=1)
    offer(machine, *works(2))
    assert machine.handle(Drained(), 0.0) == []
    assert offer(machine, *works(3, start=2)) == []
    assert settle(machine, "job-0") == []
    plan(machine, "a", "b", "c")
    assert attend(machine, "c", 9) == []
    assert machine.handle(Lost("a"), 0.0) == []
    assert machine.handle(Ticked(), 100.0) == []


def test_draining_goes_on_with_what_runs():
    machine = a_machine(a=2)
    given = tokens(offer(machine, *works(2)))
    machine.handle(Drained(), 0.0)
    assert tokens(machine.handle(Unanswered("a", ("job-0",)), 0.0)) == {"job-0": given["job-0"]}
    assert tokens(attend(machine, "a", 2, boot=2)) == given
    assert machine.handle(Started("job-0", "a", 1, NOW), 0.0) == [Mark("job-0", "a", 1, NOW)]
    assert machine.handle(Ended("job-0", DONE), 0.0) == [Settle("job-0", DONE)]
    machine.handle(Settled(("job-0",)), 0.0)
    assert machine.running == 1


# Sweeps ----------------------------------------------------------------------------------------


def test_the_backlog_is_read_every_five_seconds_and_never_twice_at_once():
    assert SWEEP_EVERY_S == 5.0
    machine = a_machine(a=1)
    assert machine.handle(Ticked(), 10.0) == [Sweep(DEFAULT_POOL, frozenset(), CAPACITY)]
    assert machine.handle(Ticked(), 16.0) == []
    # It took longer than that: the next is due.
    assert machine.handle(Swept((), True), 16.25) == [Sweep(DEFAULT_POOL, frozenset(), CAPACITY)]
    assert machine.handle(Swept((), True), 16.5) == []
    assert machine.handle(Ticked(), 21.0) == []
    assert machine.handle(Ticked(), 21.25) == [Sweep(DEFAULT_POOL, frozenset(), CAPACITY)]


def test_the_backlog_is_read_in_its_time_also_where_events_leave_no_moment_for_a_tick():
    machine = a_machine(a=1)
    (job,) = works(1)
    assert sweeps(machine.handle(Offered((job,)), 4.9)) == []
    assert sweeps(machine.handle(Offered((job,)), 5.0)) == [
        Sweep(DEFAULT_POOL, frozenset({"job-0"}), CAPACITY)
    ]


def test_the_backlog_of_a_pool_is_its_own():
    machine = Dispatch(Tokens(7), ["a"], pool="gpu")
    assert attend(machine, "a", 1) == [Sweep("gpu", frozenset(), CAPACITY)]


def test_a_sweep_skips_what_is_held():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(3))
    machine.handle(Ended("job-0", DONE), 0.0)
    assert machine.handle(Ticked(), 5.0) == [Sweep(DEFAULT_POOL, frozenset({"job-0", "job-1", "job-2"}), 10)]


def test_a_sweep_that_failed_is_made_again_in_its_time():
    machine = a_machine(a=1)
    assert len(machine.handle(Ticked(), 10.0)) == 1
    assert machine.handle(SweepFailed(), 11.0) == []
    assert machine.handle(Ticked(), 14.0) == []
    assert len(machine.handle(Ticked(), 15.0)) == 1


def test_more_than_twice_the_capacity_is_left_to_the_backlog_from_its_tail():
    machine = Dispatch(Tokens(7), ["a"], capacity=10)
    offer(machine, *reversed(works(20)))
    assert machine.queued == 20
    offer(machine, *works(1, start=20))
    assert machine.queued == 10
    # What lies behind the last one that is held is left alone, what lies before it is taken.
    offer(machine, *works(1, start=30), a_work("urgent", priority=-1))
    assert machine.queued == 11
    assert sent(attend(machine, "a", 99)) == [("a", ["urgent", *ids(works(10))])]


def test_the_backlog_is_read_again_as_soon_as_half_the_capacity_is_used_up():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(30))
    assert machine.queued == 9
    for n in range(4):
        assert sweeps(settle(machine, f"job-{n}")) == []
    assert machine.queued == 5
    (sweep,) = sweeps(settle(machine, "job-4"))
    assert sweep == Sweep(DEFAULT_POOL, frozenset(ids(works(5, start=5))), 10)


def test_a_failed_refill_is_made_again_with_the_next_tick():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(30))
    assert len(sweeps(settle(machine, *ids(works(5))))) == 1
    assert machine.handle(Ticked(), 0.25) == []
    assert machine.handle(SweepFailed(), 0.5) == []
    assert len(sweeps(machine.handle(Ticked(), 0.75))) == 1


def test_once_the_backlog_is_read_to_its_end_everything_offered_is_held_again():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(30))
    machine.handle(Ticked(), 5.0)
    machine.handle(Swept(works(8, start=10), False), 5.0)
    offer(machine, *works(1, start=40))
    assert machine.queued == 17
    machine.handle(Ticked(), 10.0)
    machine.handle(Swept((), True), 10.0)
    offer(machine, *works(1, start=50))
    assert machine.queued == 18


def test_a_job_that_comes_during_the_last_sweep_is_taken_with_it():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(30))
    machine.handle(Ticked(), 5.0)
    offer(machine, *works(1, start=40))
    machine.handle(Swept(works(2, start=10), True), 5.0)
    offer(machine, *works(1, start=41))
    assert machine.queued == 13
    assert sweeps(machine.handle(Ticked(), 9.0)) == []


def test_more_jobs_during_the_last_sweep_than_are_held_keep_the_end_open():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(30))
    machine.handle(Ticked(), 5.0)
    offer(machine, *works(11, start=40))
    machine.handle(Swept(works(2, start=10), True), 5.0)
    offer(machine, *works(1, start=60))
    assert machine.queued == 11
    assert len(sweeps(machine.handle(Ticked(), 10.0))) == 1


class Backlog:
    """What MongoDB holds: answers sweeps, and forgets what is settled."""

    def __init__(self, jobs):
        self.live = {work.job_id: work for work in jobs}

    def answer(self, sweep):
        found = (work for work in self.live.values() if work.job_id not in sweep.skip)
        ordered = sorted(found, key=lambda work: work.order)
        return Swept(tuple(ordered[: sweep.limit]), exhausted=len(ordered) <= sweep.limit)


def test_fifty_thousand_jobs_are_all_sent_in_order_and_few_are_held():
    jobs = works(50_000)
    backlog = Backlog(jobs)
    machine = a_machine(a=500, b=500, capacity=1_000)
    given, most_queued, commands = [], 0, []
    for start in range(0, 50_000, 500):
        commands += offer(machine, *jobs[start : start + 500])
        most_queued = max(most_queued, machine.queued)
    assert machine.queued < 50_000 - 1_000
    now = 0.0
    while backlog.live:
        if not commands:
            now += 0.25
            commands = machine.handle(Ticked(), now)
            continue
        command = commands.pop(0)
        if isinstance(command, Sweep):
            commands += machine.handle(backlog.answer(command), now)
        elif isinstance(command, Send):
            job_ids = [forward.work.job_id for forward in command.forwards]
            given += job_ids
            for job_id in job_ids:
                del backlog.live[job_id]
            commands += settle(machine, *job_ids)
        most_queued = max(most_queued, machine.queued)
        assert now < 60, f"{len(backlog.live)} jobs are never sent"
    assert given == ids(jobs)
    assert most_queued <= 2 * 1_000
    assert (machine.queued, machine.running) == (0, 0)


def test_what_is_left_out_while_a_sweep_is_under_way_goes_before_what_lies_behind_it():
    machine = a_machine(a=1, capacity=10)
    jobs = works(30)
    backlog = Backlog(jobs)
    given = sent(offer(machine, *jobs[:20]))
    (sweep,) = sweeps(machine.handle(Ticked(), 5.0))
    # Over twice the capacity: 1 to 10 are kept, and 11 to 19, which the sweep skipped, are not.
    offer(machine, *jobs[20:])
    found = tuple(job for job in jobs[:25] if job.job_id not in sweep.skip)
    commands = machine.handle(Swept(found, True), 5.0)
    order = [job_id for _, job_ids in given for job_id in job_ids]
    while backlog.live:
        del backlog.live[order[-1]]
        commands += settle(machine, order[-1])
        answers = [machine.handle(backlog.answer(sweep), 1.0) for sweep in sweeps(commands)]
        commands = [command for command in itertools.chain(commands, *answers) if isinstance(command, Send)]
        order += [job_id for _, job_ids in sent(commands) for job_id in job_ids]
        commands = []
    assert order == ids(jobs)


def test_one_message_with_fifty_thousand_jobs_leaves_no_more_than_the_capacity_in_memory():
    machine = Dispatch(Tokens(7), ["a"])
    offer(machine, *works(50_000))
    assert machine.queued == CAPACITY == 4_000
    assert len(machine._backlog._waiting) == len(machine._backlog._queue) == 4_000
    assert machine._entries == {}


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_even_the_smallest_window_reaches_every_job(capacity):
    jobs = works(40)
    backlog = Backlog(jobs)
    machine = a_machine(a=1, capacity=capacity)
    commands, given, now = offer(machine, *jobs), [], 0.0
    while backlog.live:
        for command in commands:
            if isinstance(command, Send):
                given += [forward.work.job_id for forward in command.forwards]
        done = [job_id for job_id in given if job_id in backlog.live]
        for job_id in done:
            del backlog.live[job_id]
        now += 1.0
        swept = [machine.handle(backlog.answer(sweep), now) for sweep in sweeps(commands)]
        commands = sum(swept, settle(machine, *done)) + machine.handle(Ticked(), now)
        assert now < 1_000, f"{len(backlog.live)} jobs are never sent"
    assert given == ids(jobs)


# Jobs that end otherwise -----------------------------------------------------------------------

CANCELLED = Outcome(Status.CANCELLED, after(5), None, {"type": "CancelRequested", "message": ""})


def close(machine, job_id):
    return machine.handle(Closed(job_id, CANCELLED), 0.0)


def test_a_job_that_is_closed_while_it_waits_is_settled_and_never_sent():
    machine = a_machine(a=1)
    offer(machine, *works(3))
    assert close(machine, "job-1") == [Settle("job-1", CANCELLED)]
    assert (machine.queued, machine.running) == (1, 2)
    assert sent(settle(machine, "job-0")) == [("a", ["job-2"])]
    machine.handle(Settled(("job-1",)), 0.0)
    assert (machine.queued, machine.running) == (0, 1)


def test_a_job_that_is_closed_while_it_runs_is_stopped_and_keeps_its_slot_until_that_is_written():
    machine = a_machine(a=1)
    offer(machine, *works(2))
    told = [Halt("a", "job-0", CANCELLED), Settle("job-0", CANCELLED)]
    assert close(machine, "job-0") == told
    # Whoever asks again may have had no answer: the stop may not have been heard either.
    assert close(machine, "job-0") == told
    assert machine.handle(Started("job-0", "a", 1, NOW), 0.0) == []
    assert attend(machine, "a", 1, boot=2) == []
    assert (machine.queued, machine.running) == (1, 1)
    assert sent(machine.handle(Settled(("job-0",)), 0.0)) == [("a", ["job-1"])]


def test_a_job_that_is_closed_and_nobody_here_knows_is_settled():
    machine = a_machine(a=1)
    assert close(machine, "unheard-of") == [Settle("unheard-of", CANCELLED)]
    assert (machine.queued, machine.running) == (0, 0)


def test_a_job_that_is_closed_after_its_worker_was_lost_is_settled_and_nobody_is_stopped():
    machine = a_machine(a=1)
    offer(machine, *works(1))
    machine.handle(Ended("job-0", DONE), 0.0)
    machine.handle(Lost("a"), 0.0)
    assert close(machine, "job-0") == [Settle("job-0", CANCELLED)]


@pytest.mark.parametrize("known_by", ["offer", "loss"])
def test_what_was_closed_before_its_worker_was_heard_is_stopped_when_that_says_that_it_runs(known_by):
    """The worker hears of the end only by being stopped; until then the job runs on and on."""
    if known_by == "loss":
        machine = a_machine(a=1)
        offer(machine, *works(1))
        close(machine, "job-0")
        machine.handle(Lost("a"), 0.0)
    else:
        machine = Dispatch(Tokens(7), ["a"])
        offer(machine, *works(1))
        close(machine, "job-0")
    assert sent(attend(machine, "a", 1, running=works(1))) == []
    assert Halt("a", "job-0", CANCELLED) in close(machine, "job-0")


# Jobs that are to be retried -------------------------------------------------------------------

FAILED = {"type": "ValueError", "message": ""}


def defer(machine, job_id, token):
    return machine.handle(Deferred(job_id, token, 1, after(60), FAILED), 0.0)


def postponed(job_id, token):
    return Postponed(((job_id, token),))


def test_a_delay_is_written_and_only_then_the_slot_is_free_and_the_job_out_of_here():
    machine = a_machine(a=1)
    given = tokens(offer(machine, *works(2)))
    assert defer(machine, "job-0", given["job-0"]) == [
        Postpone("job-0", given["job-0"], 1, after(60), FAILED)
    ]
    assert machine.knows("job-0")
    assert (machine.queued, machine.running) == (1, 1)
    assert sent(machine.handle(postponed("job-0", given["job-0"]), 0.0)) == [("a", ["job-1"])]
    assert not machine.knows("job-0")
    assert (machine.queued, machine.running) == (0, 1)


def test_a_job_whose_time_has_come_is_sent_under_a_newer_token():
    machine = a_machine(a=1)
    given = tokens(offer(machine, *works(1)))
    defer(machine, "job-0", given["job-0"])
    machine.handle(postponed("job-0", given["job-0"]), 0.0)
    assert tokens(offer(machine, *works(1))) == {"job-0": Token(7, 2)}


def test_a_delay_under_an_older_token_or_of_a_job_that_is_unheard_of_is_old_news():
    machine = a_machine(a=1, b=9)
    first = tokens(offer(machine, *works(1)))
    machine.handle(Lost("b"), 0.0)
    assert defer(machine, "job-0", first["job-0"]) == []
    assert defer(machine, "unheard-of", first["job-0"]) == []
    assert machine.holds("a", ["job-0"])
    # Nor does it do harm if its like was written before: whoever has the job will say how it stands.
    machine.handle(postponed("unheard-of", first["job-0"]), 0.0)
    assert machine.running == 1


def test_a_delay_that_is_told_again_frees_one_slot():
    machine = a_machine(a=1)
    given = tokens(offer(machine, *works(3)))
    for _ in range(2):
        assert len(defer(machine, "job-0", given["job-0"])) == 1
    machine.handle(postponed("job-0", given["job-0"]), 0.0)
    assert machine.handle(postponed("job-0", given["job-0"]), 0.0) == []
    assert (machine.queued, machine.running) == (1, 1)


def test_an_end_holds_against_a_delay_and_is_not_forgotten_before_it_is_written():
    machine = a_machine(a=1)
    given = tokens(offer(machine, *works(2)))
    defer(machine, "job-0", given["job-0"])
    close(machine, "job-0")
    assert defer(machine, "job-0", given["job-0"]) == []
    assert machine.handle(postponed("job-0", given["job-0"]), 0.0) == []
    assert machine.knows("job-0")
    assert offer(machine, *works(1)) == []
    assert sent(machine.handle(Settled(("job-0",)), 0.0)) == [("a", ["job-1"])]


def test_a_delay_that_is_written_after_the_job_went_elsewhere_does_not_take_it_from_there():
    """Its next attempt may run there by now; sent anywhere else, it would be run twice at once."""
    machine = a_machine(a=9, b=1)
    given = tokens(offer(machine, *works(1)))
    defer(machine, "job-0", given["job-0"])
    again = tokens(machine.handle(Lost("a"), 0.0))
    machine.handle(postponed("job-0", given["job-0"]), 0.0)
    assert machine.holds("b", ["job-0"])
    # And from there it is postponed as any other.
    assert len(defer(machine, "job-0", again["job-0"])) == 1
    machine.handle(postponed("job-0", again["job-0"]), 0.0)
    assert machine.running == 0


# Workers that leave ----------------------------------------------------------------------------


def test_an_unfit_worker_gets_nothing_new_and_is_dismissed_once_when_it_is_done():
    machine = a_machine(a=2)
    assert sent(offer(machine, *works(3))) == [("a", ["job-0", "job-1"])]
    assert attend(machine, "a", 2, unfit=True) == []
    assert settle(machine, "job-0") == []
    assert settle(machine, "job-1") == [Dismiss("a")]
    assert attend(machine, "a", 2, unfit=True) == []
    assert not machine.ready
    # What waits stays for whoever comes.
    assert machine.handle(Dismissed("a"), 0.0) == []
    assert machine.queued == 1
    assert sent(attend(machine, "a", 2, boot=2)) == [("a", ["job-2"])]


def test_an_idle_worker_that_is_unfit_is_dismissed():
    machine = a_machine(a=2)
    assert attend(machine, "a", 2, unfit=True) == [Dismiss("a")]


def test_while_one_leaves_the_others_get_its_share():
    machine = a_machine(a=5, b=2)
    offer(machine, *works(1))
    attend(machine, "a", 5, unfit=True)
    assert sent(offer(machine, *works(3, start=1))) == [("b", ["job-1", "job-2"])]


def test_the_jobs_of_one_that_leaves_are_still_looked_after():
    machine = a_machine(a=2)
    offer(machine, *works(1))
    attend(machine, "a", 2, unfit=True)
    assert sent(machine.handle(Unanswered("a", ("job-0",)), 0.0)) == [("a", ["job-0"])]
    assert sent(attend(machine, "a", 2, boot=2, unfit=True)) == [("a", ["job-0"])]


@pytest.mark.parametrize("way", ["ended", "declined", "postponed"])
def test_whichever_way_it_gets_rid_of_its_last_job_it_is_dismissed_then(way):
    machine = a_machine(a=2)
    given = tokens(offer(machine, *works(1)))
    assert plan(machine) == []
    assert (machine.remaining, machine.ready) == (("a",), False)
    if way == "ended":
        commands = settle(machine, "job-0")
    elif way == "declined":
        commands = machine.handle(Declined("job-0", given["job-0"]), 0.0)
    else:
        defer(machine, "job-0", given["job-0"])
        commands = machine.handle(postponed("job-0", given["job-0"]), 0.0)
    assert commands == [Dismiss("a")]
    assert machine.handle(Dismissed("a"), 0.0) == []
    assert machine.remaining == ()


def test_the_jobs_of_one_that_is_lost_on_its_way_out_go_elsewhere():
    machine = a_machine(a=1, b=9)
    offer(machine, *works(1))
    plan(machine, "a")
    assert machine.handle(Lost("b"), 0.0) == [Dismiss("b"), Send("a", (Forward(works(1)[0], Token(7, 2)),))]


def test_those_who_are_not_wanted_are_heard_before_anything_is_sent():
    machine = Dispatch(Tokens(7), ["a"], ["z"])
    busy, job = works(2)
    offer(machine, busy, job)
    assert attend(machine, "a", 10) == []
    commands = attend(machine, "z", 10, running=[busy])
    assert sent(commands) == [("z", ["job-0"]), ("a", ["job-1"])]
    assert settle(machine, "job-0") == [Dismiss("z")]


def test_what_waits_goes_to_who_is_wanted_again_but_not_while_that_is_being_ended():
    machine = a_machine(a=1, b=1)
    assert plan(machine, "a") == [Dismiss("b")]
    plan(machine, "a", "b")
    assert sent(offer(machine, *works(2))) == [("a", ["job-0"])]
    machine.handle(Dismissed("b"), 0.0)
    assert sent(attend(machine, "b", 1, boot=2)) == [("b", ["job-1"])]
    assert settle(machine, "job-0", "job-1") == []
    assert (machine.queued, machine.running) == (0, 0)


def test_nothing_that_was_given_to_a_successor_is_lost_when_its_predecessor_is_known_to_be_gone():
    machine = a_machine(a=1, b=1)
    assert plan(machine, "a", "b", generation=1) == [Dismiss("a")]
    attend(machine, "a", 1, boot=2, generation=1)
    offer(machine, *works(2))
    machine.handle(Dismissed("a"), 0.0)
    attend(machine, "a", 1, boot=3, generation=1)
    held = [job_id for name in ("a", "b") for job_id in ids(works(2)) if machine.holds(name, [job_id])]
    assert machine.queued + len(held) == 2


def test_a_newer_plan_is_followed_one_by_one_and_no_job_is_broken_off():
    machine = a_machine(a=1, b=1)
    offer(machine, *works(3))
    assert plan(machine, "a", "b", generation=1) == []
    assert machine.outdated == 2
    assert settle(machine, "job-1") == [Send("b", (Forward(works(3)[2], Token(7, 3)),))]
    assert settle(machine, "job-0") == [Dismiss("a")]
    offer(machine, *works(2, start=3))
    assert machine.handle(Dismissed("a"), 0.0) == []
    assert sent(attend(machine, "a", 1, boot=2, generation=1)) == [("a", ["job-3"])]
    assert settle(machine, "job-2") == [Dismiss("b")]
    machine.handle(Dismissed("b"), 0.0)
    assert sent(attend(machine, "b", 1, boot=2, generation=1)) == [("b", ["job-4"])]
    assert machine.outdated == 0


def test_what_a_dismissed_worker_still_says_brings_it_no_jobs():
    machine = a_machine(a=1, b=1)
    plan(machine, "a")
    machine.handle(Dismissed("b"), 0.0)
    plan(machine, "a", "b")
    assert attend(machine, "b", 1) == []
    assert sent(offer(machine, *works(2))) == [("a", ["job-0"])]
    assert machine.boot_of("b") == 0


# A pool that is gone -----------------------------------------------------------------------------


def test_in_a_pool_that_is_gone_nothing_waits_and_what_runs_comes_to_its_end():
    machine = a_machine(a=2)
    given = tokens(offer(machine, *works(4)))
    assert plan(machine) == []
    assert (machine.queued, list(machine.held), machine.complete) == (0, ["job-0", "job-1"], True)
    assert not machine.knows("job-2")
    assert machine.handle(Ticked(), 100.0) == []
    assert tokens(attend(machine, "a", 2, boot=2)) == given
    assert settle(machine, "job-0") == []
    assert settle(machine, "job-1") == [Dismiss("a")]


def test_a_pool_that_is_gone_takes_nothing_whoever_says_that_it_is_in_its_queue():
    machine = a_machine(a=2)
    (sweep,) = sweeps(machine.handle(Ticked(), 5.0))
    assert sweep.pool == DEFAULT_POOL
    plan(machine)
    for event in (Offered(works(2)), Swept(works(2), True), Swept(works(2), False)):
        assert sent(machine.handle(event, 5.0)) == []
    assert (machine.queued, machine.running) == (0, 0)


def test_what_a_lost_worker_of_a_pool_that_is_gone_had_is_left_to_mongodb():
    machine = a_machine(a=2)
    offer(machine, *works(2))
    machine.handle(Ended("job-0", DONE), 0.0)
    plan(machine)
    assert machine.handle(Lost("a"), 0.0) == [Dismiss("a")]
    assert (machine.queued, list(machine.held)) == (0, ["job-0"])


def test_a_pool_that_comes_back_begins_with_what_is_in_mongodb_by_then():
    machine = a_machine(a=1)
    offer(machine, *works(2))
    machine.handle(Ticked(), 5.0)
    plan(machine)
    plan(machine, "a")
    # Read before the pool was gone: those jobs may be in another pool by now.
    assert sent(machine.handle(Swept(works(1, start=2), True), 6.0)) == []
    (sweep,) = sweeps(machine.handle(Ticked(), 10.0))
    assert sweep.skip == {"job-0"}
    assert settle(machine, "job-0") == []
    assert sent(machine.handle(Swept(works(1, start=3), True), 10.0)) == [("a", ["job-3"])]


# What a pool is seen to do ---------------------------------------------------------------------


def test_the_load_of_a_pool_is_told_as_far_as_it_is_known_here():
    machine = a_machine(a=1, b=1, c=1)
    machine.handle(Offered(works(4)), 10.0)
    machine.handle(Attended("c", 1, 1, (), unfit=True), 10.0)
    machine.handle(Ended("job-0", DONE), 10.0)
    load = machine.load(wanted=3, slots=1, now=12.5)
    assert load == Load(workers=3, present=2, slots=1, running=3, queued=1, oldest_wait_s=2.5)


def test_tokens_are_the_epochs_and_not_a_pools():
    """A job may move to another pool, and its token must be newer there."""
    shared = Tokens(7)
    machines = [Dispatch(shared, ["a"], pool=pool) for pool in ("cpu", "gpu")]
    for machine in machines:
        attend(machine, "a", 1)
    given = [tokens(offer(machine, a_work(f"job-{n}"))) for n, machine in enumerate(machines)]
    assert given == [{"job-0": Token(7, 1)}, {"job-1": Token(7, 2)}]
