"""Who runs what, when."""

import itertools

import pytest

from hasty.dispatch import (
    CAPACITY,
    SWEEP_EVERY_S,
    Attended,
    Dispatch,
    Drained,
    Lost,
    Mark,
    Offered,
    Replace,
    Send,
    Settle,
    Settled,
    Sweep,
    SweepFailed,
    Swept,
    Ticked,
    Unanswered,
)
from hasty.job import Outcome, Status, Token
from hasty.messages import Declined, Ended, Forward, Started
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
    """A machine whose workers, named with their slots, have all attended."""
    machine = Dispatch(7, slots, capacity=capacity)
    for worker, count in slots.items():
        attend(machine, worker, count)
    return machine


def attend(machine, worker, slots, boot=1, running=()):
    return machine.handle(Attended(worker, boot, slots, tuple(running)), 0.0)


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
    machine = Dispatch(7, ["a", "b"])
    (job,) = works(1)
    assert offer(machine, job) == []
    assert attend(machine, "a", 10) == []
    assert not machine.ready
    assert sent(attend(machine, "b", 10)) == [("a", ["job-0"])]
    assert machine.ready


def test_a_lost_worker_is_not_waited_for():
    machine = Dispatch(7, ["a", "b"])
    offer(machine, *works(1))
    attend(machine, "a", 10)
    assert sent(machine.handle(Lost("b"), 0.0)) == [("a", ["job-0"])]


def test_while_all_workers_are_lost_jobs_wait_and_nobody_calls_it_ready():
    machine = Dispatch(7, ["a", "b"])
    offer(machine, *works(1))
    machine.handle(Lost("a"), 0.0)
    assert machine.handle(Lost("b"), 0.0) == []
    assert not machine.ready
    assert machine.queued == 1
    assert sent(attend(machine, "b", 10, boot=2)) == [("b", ["job-0"])]
    assert machine.ready


def test_the_backlog_is_not_read_before_it_is_known_what_runs():
    machine = Dispatch(7, ["a"])
    assert machine.handle(Ticked(), 100.0) == []
    attend(machine, "a", 10)
    assert machine.handle(Ticked(), 100.0) == [Sweep(frozenset(), CAPACITY)]


def test_what_runs_already_is_found_there_and_not_started_again():
    machine = Dispatch(7, ["a", "b"])
    one, two, three = works(3)
    assert attend(machine, "a", 10, running=[two]) == [Send("a", (Forward(two, Token(7, 1)),))]
    assert attend(machine, "b", 10) == []
    assert (machine.queued, machine.running) == (0, 1)
    assert machine.handle(Swept((one, two, three), True), 0.0) == [
        Send("b", (Forward(one, Token(7, 2)), Forward(three, Token(7, 3))))
    ]


def test_a_job_that_was_queued_before_it_is_known_to_run_is_left_where_it_runs():
    machine = Dispatch(7, ["a", "b"])
    one, two = works(2)
    offer(machine, one, two)
    assert sent(attend(machine, "a", 10, running=[one])) == [("a", ["job-0"])]
    assert (machine.queued, machine.running) == (1, 1)
    assert sent(attend(machine, "b", 10)) == [("b", ["job-1"])]
    assert (machine.queued, machine.running) == (0, 2)
    assert settle(machine, "job-0", "job-1") == []
    assert (machine.queued, machine.running) == (0, 0)


def test_a_job_that_two_workers_run_stays_with_the_first_that_was_heard():
    machine = Dispatch(7, ["a", "b"])
    (job,) = works(1)
    assert sent(attend(machine, "a", 10, running=[job])) == [("a", ["job-0"])]
    assert attend(machine, "b", 10, running=[job]) == []
    assert machine.holds("a", ["job-0"])
    assert not machine.holds("b", ["job-0"])


def test_jobs_that_run_already_take_slots():
    machine = Dispatch(7, ["a"])
    attend(machine, "a", 2, running=works(2))
    assert offer(machine, *works(1, start=2)) == []
    assert sent(settle(machine, "job-1")) == [("a", ["job-2"])]


def test_a_worker_that_runs_more_than_its_slots_gets_nothing_until_one_is_free():
    machine = Dispatch(7, ["a"])
    attend(machine, "a", 2, running=works(4))
    offer(machine, *works(1, start=4))
    assert settle(machine, "job-0", "job-1") == []
    assert sent(settle(machine, "job-2")) == [("a", ["job-4"])]


# The order of the queue ------------------------------------------------------------------------


def test_the_oldest_job_goes_first_however_jobs_arrived():
    machine = Dispatch(7, ["a"])
    for job in reversed(works(5)):
        offer(machine, job)
    assert sent(attend(machine, "a", 3)) == [("a", ["job-0", "job-1", "job-2"])]


def test_a_lower_priority_number_goes_before_age():
    machine = Dispatch(7, ["a"])
    old, urgent, idle = a_work("old"), a_work("urgent", priority=-1), a_work("idle", priority=9)
    offer(machine, old, urgent._replace(accepted_at=after(99)), idle._replace(accepted_at=after(-99)))
    assert sent(attend(machine, "a", 10)) == [("a", ["urgent", "old", "idle"])]


def test_of_two_jobs_of_one_millisecond_the_smaller_id_goes_first():
    machine = Dispatch(7, ["a"])
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
    machine = Dispatch(7, ["a"])
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
    assert machine.handle(Ticked(), 1.0) == [Sweep(frozenset({"job-0", "job-1"}), CAPACITY)]
    assert (machine.queued, machine.running) == (1, 1)
    assert sent(machine.handle(Settled(("job-0",)), 0.0)) == [("a", ["job-1"])]


def test_a_job_that_ended_while_it_was_queued_is_not_sent():
    machine = Dispatch(7, ["a"])
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
    (sweep,) = sweeps(machine.handle(Ticked(), 1.0))
    assert sweep.skip == frozenset()
    again = machine.handle(Swept((one,), True), 1.0)
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
    assert machine.handle(Ticked(), 10.0) == [Sweep(frozenset(), CAPACITY)]
    assert machine.handle(Ticked(), 16.0) == []
    machine.handle(Swept((), True), 16.0)
    assert machine.handle(Ticked(), 16.25) == [Sweep(frozenset(), CAPACITY)]
    machine.handle(Swept((), True), 16.5)
    assert machine.handle(Ticked(), 21.0) == []
    assert machine.handle(Ticked(), 21.25) == [Sweep(frozenset(), CAPACITY)]


def test_a_sweep_skips_what_is_held():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(3))
    machine.handle(Ended("job-0", DONE), 0.0)
    assert machine.handle(Ticked(), 1.0) == [Sweep(frozenset({"job-0", "job-1", "job-2"}), 10)]


def test_a_sweep_that_failed_is_made_again_in_its_time():
    machine = a_machine(a=1)
    assert len(machine.handle(Ticked(), 10.0)) == 1
    assert machine.handle(SweepFailed(), 11.0) == []
    assert machine.handle(Ticked(), 14.0) == []
    assert len(machine.handle(Ticked(), 15.0)) == 1


def test_more_than_twice_the_capacity_is_left_to_the_backlog_from_its_tail():
    machine = Dispatch(7, ["a"], capacity=10)
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
    assert sweep == Sweep(frozenset(ids(works(5, start=5))), 10)


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
    machine.handle(Ticked(), 1.0)
    machine.handle(Swept(works(8, start=10), False), 1.0)
    offer(machine, *works(1, start=40))
    assert machine.queued == 17
    machine.handle(Ticked(), 10.0)
    machine.handle(Swept((), True), 10.0)
    offer(machine, *works(1, start=50))
    assert machine.queued == 18


def test_a_job_that_comes_during_the_last_sweep_is_taken_with_it():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(30))
    machine.handle(Ticked(), 1.0)
    offer(machine, *works(1, start=40))
    machine.handle(Swept(works(2, start=10), True), 1.0)
    offer(machine, *works(1, start=41))
    assert machine.queued == 13
    assert sweeps(machine.handle(Ticked(), 5.0)) == []


def test_more_jobs_during_the_last_sweep_than_are_held_keep_the_end_open():
    machine = a_machine(a=1, capacity=10)
    offer(machine, *works(30))
    machine.handle(Ticked(), 1.0)
    offer(machine, *works(11, start=40))
    machine.handle(Swept(works(2, start=10), True), 1.0)
    offer(machine, *works(1, start=60))
    assert machine.queued == 11
    assert len(sweeps(machine.handle(Ticked(), 6.0))) == 1


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
    (sweep,) = sweeps(machine.handle(Ticked(), 1.0))
    # Over twice the capacity: 1 to 10 are kept, and 11 to 19, which the sweep skipped, are not.
    offer(machine, *jobs[20:])
    found = tuple(job for job in jobs[:25] if job.job_id not in sweep.skip)
    commands = machine.handle(Swept(found, True), 1.0)
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
    machine = Dispatch(7, ["a"])
    offer(machine, *works(50_000))
    assert machine.queued == CAPACITY == 4_000
    assert len(machine._entries) == len(machine._queue) == 4_000


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


# Workers that are to be replaced ---------------------------------------------------------------


def leave(machine, worker, slots, boot=1, running=()):
    return machine.handle(Attended(worker, boot, slots, tuple(running), leaving=True), 0.0)


def test_a_worker_that_leaves_gets_nothing_new_and_is_replaced_once_it_is_done():
    machine = a_machine(a=2)
    assert sent(offer(machine, *works(3))) == [("a", ["job-0", "job-1"])]
    assert leave(machine, "a", 2) == []
    assert settle(machine, "job-0") == []
    assert settle(machine, "job-1") == []
    # Said until it happens; what waits stays for whoever comes.
    assert leave(machine, "a", 2) == [Replace("a")]
    assert leave(machine, "a", 2) == [Replace("a")]
    assert machine.queued == 1
    assert sent(attend(machine, "a", 2, boot=2)) == [("a", ["job-2"])]


def test_an_idle_worker_that_leaves_is_replaced():
    machine = a_machine(a=2)
    assert leave(machine, "a", 2) == [Replace("a")]


def test_while_one_leaves_the_others_get_its_share():
    machine = a_machine(a=5, b=2)
    leave(machine, "a", 5)
    assert sent(offer(machine, *works(3))) == [("b", ["job-0", "job-1"])]


def test_the_jobs_of_one_that_leaves_are_still_looked_after():
    machine = a_machine(a=2)
    offer(machine, *works(1))
    leave(machine, "a", 2)
    assert sent(machine.handle(Unanswered("a", ("job-0",)), 0.0)) == [("a", ["job-0"])]
    assert sent(leave(machine, "a", 2, boot=2)) == [("a", ["job-0"])]
