"""The workers of a pool: who takes jobs, who leaves, and who is ended when."""

import pytest

from hasty.dispatch import Attended
from hasty.dispatch.crew import Crew


def attend(crew, name, boot=1, *, slots=2, unfit=False, generation=1):
    return crew.attend(Attended(name, boot, slots, (), unfit, generation))


def a_crew(*names, generation=1):
    """A crew whose workers have all answered, and are of its plan."""
    crew = Crew(names, (), generation)
    for name in names:
        attend(crew, name, generation=generation)
    return crew


def give(crew, name, *job_ids):
    crew[name].jobs.update(dict.fromkeys(job_ids))


def free(crew):
    return dict(crew.free())


def replace(crew, name, boot=2, *, generation=2):
    """End a worker that is to be dismissed; another takes its name."""
    assert crew.to_dismiss() == [name]
    crew.dismissed(name)
    attend(crew, name, boot, generation=generation)


# Who is there ------------------------------------------------------------------------------------


def test_it_is_complete_once_everybody_who_may_have_jobs_was_heard_or_judged():
    crew = Crew(["a", "b"], ["z"], 1)
    attend(crew, "a")
    crew.lose("b")
    assert not crew.complete
    attend(crew, "z")
    assert crew.complete


def test_a_worker_that_is_wanted_later_is_not_waited_for():
    crew = a_crew("a")
    crew.plan(["a", "b"], 1)
    assert crew.complete
    assert free(crew) == {"a": 2}
    attend(crew, "b")
    assert free(crew) == {"a": 2, "b": 2}


def test_a_process_is_met_once_and_its_successor_takes_over_its_jobs():
    crew = a_crew("a")
    give(crew, "a", "job-1")
    assert attend(crew, "a") is None
    member = attend(crew, "a", 2, slots=5)
    assert (member.boot, list(member.jobs)) == (2, ["job-1"])
    assert free(crew) == {"a": 4}


def test_who_has_more_jobs_than_slots_takes_none():
    crew = a_crew("a", "b")
    give(crew, "a", "job-1", "job-2", "job-3")
    assert free(crew) == {"b": 2}
    assert crew.present == 2


def test_a_lost_worker_is_not_there_until_it_is_heard_again():
    crew = a_crew("a", "b")
    give(crew, "a", "job-1")
    assert list(crew.lose("a").jobs) == ["job-1"]
    assert crew.lose("a") is None
    assert (crew.get("a"), crew.get(None), free(crew), crew.present) == (None, None, {"b": 2}, 1)
    assert attend(crew, "a").jobs == {}
    assert crew.present == 2


# Who is not wanted any more ----------------------------------------------------------------------


def test_a_worker_that_is_not_wanted_keeps_its_jobs_gets_none_and_is_dismissed_once_when_it_is_idle():
    crew = a_crew("a", "b")
    give(crew, "b", "job-1")
    crew.plan(["a"], 1)
    assert (free(crew), crew.present, crew.remaining) == ({"a": 2}, 1, ("b",))
    assert crew.to_dismiss() == []
    crew["b"].jobs.clear()
    assert crew.to_dismiss() == ["b"]
    assert (crew.to_dismiss(), crew.remaining) == ([], ("b",))
    crew.dismissed("b")
    assert (crew.to_dismiss(), crew.remaining) == ([], ())


def test_nobody_is_dismissed_before_it_is_known_who_has_which_jobs():
    crew = Crew(["a"], ["z"], 2)
    attend(crew, "z")
    assert (crew.to_dismiss(), crew.remaining) == ([], ("z",))
    attend(crew, "a", generation=1)
    assert crew.to_dismiss() == ["z", "a"]


def test_a_worker_that_is_wanted_again_before_it_has_left_stays():
    crew = a_crew("a", "b")
    give(crew, "b", "job-1")
    crew.plan(["a"], 1)
    assert crew.to_dismiss() == []
    crew.plan(["a", "b"], 1)
    assert free(crew) == {"a": 2, "b": 1}
    crew["b"].jobs.clear()
    assert (crew.to_dismiss(), crew.remaining) == ([], ())


def test_who_is_being_ended_gets_no_jobs_though_it_is_wanted_again():
    """Ending takes a while; with its process goes what it was given meanwhile."""
    crew = a_crew("a", "b")
    crew.plan(["a"], 1)
    assert crew.to_dismiss() == ["b"]
    crew.plan(["a", "b"], 1)
    assert (free(crew), crew.present) == ({"a": 2}, 1)
    crew.dismissed("b")
    attend(crew, "b", 2)
    assert free(crew) == {"a": 2, "b": 2}
    assert crew.to_dismiss() == []


def test_one_that_takes_a_name_before_it_is_known_that_its_bearer_is_gone_is_heard_when_that_is_known():
    """The order to end may have been carried out and not answered: it may be carried out again."""
    crew = a_crew("a", "b")
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == ["a"]
    attend(crew, "a", 2, generation=2)
    assert free(crew) == {"b": 2}
    crew.dismissed("a")
    assert attend(crew, "a", 2, generation=2).boot == 2
    assert crew.to_dismiss() == ["b"]
    assert free(crew) == {"a": 2}


def test_what_a_dismissed_worker_still_says_is_old_and_what_its_successor_says_is_not():
    crew = a_crew("a", "b")
    crew.plan(["a"], 1)
    assert crew.to_dismiss() == ["b"]
    crew.dismissed("b")
    crew.plan(["a", "b"], 1)
    assert attend(crew, "b", 1) is None
    assert (crew.get("b"), free(crew)) == (None, {"a": 2})
    assert attend(crew, "b", 2).boot == 2
    assert free(crew) == {"a": 2, "b": 2}


def test_a_worker_that_is_lost_on_its_way_out_is_dismissed():
    crew = a_crew("a", "b")
    give(crew, "b", "job-1")
    crew.plan(["a"], 1)
    crew.lose("b")
    assert crew.to_dismiss() == ["b"]
    assert crew.remaining == ("b",)
    crew.dismissed("b")
    assert (crew.to_dismiss(), crew.remaining) == ([], ())


@pytest.mark.parametrize("placed", [False, True], ids=["was never there", "was lost"])
def test_a_worker_that_does_not_answer_when_it_is_not_wanted_any_more_is_dismissed(placed):
    """It may have no place to start, and would be a demand for one for ever; or it is cut off."""
    crew = a_crew("a")
    crew.plan(["a", "b"], 1)
    if placed:
        attend(crew, "b")
    crew.lose("b")
    crew.plan(["a"], 1)
    assert crew.to_dismiss() == ["b"]
    assert crew.remaining == ("b",)


def test_a_worker_that_is_not_wanted_any_more_while_another_takes_its_name_remains_until_that_is_gone():
    crew = a_crew("a", "b")
    crew.plan(["a", "b"], 2)
    replace(crew, "a")
    assert crew.to_dismiss() == ["b"]
    crew.dismissed("b")
    crew.plan(["a"], 2)
    # Nobody was heard under its name yet, but somebody may be on its way.
    assert (crew.to_dismiss(), crew.remaining) == ([], ("b",))
    crew.lose("b")
    assert (crew.to_dismiss(), crew.remaining) == (["b"], ("b",))
    crew.dismissed("b")
    assert crew.remaining == ()


def test_a_worker_that_was_judged_remains_until_it_is_dismissed():
    """Or the next Dispatcher would not know that it may be there."""
    crew = Crew(["a"], ["z"], 1)
    crew.lose("z")
    assert (crew.to_dismiss(), crew.remaining) == ([], ("z",))
    attend(crew, "a")
    assert crew.to_dismiss() == ["z"]


def test_a_worker_that_was_judged_and_is_heard_again_keeps_its_jobs():
    crew = Crew(["a"], ["z"], 1)
    crew.lose("z")
    attend(crew, "z")
    give(crew, "z", "job-1")
    attend(crew, "a")
    assert crew.to_dismiss() == []
    crew["z"].jobs.clear()
    assert crew.to_dismiss() == ["z"]


# Who is unfit ------------------------------------------------------------------------------------


def test_an_unfit_worker_gives_way_once_it_has_no_jobs():
    crew = a_crew("a", "b")
    give(crew, "a", "job-1")
    attend(crew, "a", unfit=True)
    assert (free(crew), crew.present, crew.to_dismiss()) == ({"b": 2}, 1, [])
    crew["a"].jobs.clear()
    replace(crew, "a", generation=1)
    assert (free(crew), crew.to_dismiss()) == ({"b": 2, "a": 2}, [])


def test_unfit_workers_do_not_wait_for_one_another():
    """None of them takes jobs, so it is of no use that they stay."""
    crew = a_crew("a", "b")
    for name in ("a", "b"):
        attend(crew, name, unfit=True)
    assert crew.to_dismiss() == ["a", "b"]


def test_an_unfit_worker_whose_process_died_is_fit_again():
    crew = a_crew("a")
    give(crew, "a", "job-1")
    attend(crew, "a", unfit=True)
    attend(crew, "a", 2)
    assert (free(crew), crew.to_dismiss()) == ({"a": 1}, [])


# Newer plans -------------------------------------------------------------------------------------


def test_workers_of_an_older_plan_give_way_one_after_the_other():
    crew = a_crew("a", "b", "c")
    crew.plan(["a", "b", "c"], 2)
    assert crew.outdated == 3
    for left, name in zip((2, 1, 0), ("a", "b", "c"), strict=True):
        assert crew.to_dismiss() == [name]
        crew.dismissed(name)
        assert (crew.to_dismiss(), crew.outdated, crew.present) == ([], left + 1, 2)
        attend(crew, name, 2, generation=2)
        assert (crew.outdated, crew.present) == (left, 3)
    assert crew.to_dismiss() == []


def test_the_one_whose_turn_it_is_gets_nothing_new_and_ends_its_jobs_and_the_others_go_on():
    crew = a_crew("a", "b")
    give(crew, "a", "job-1")
    crew.plan(["a", "b"], 2)
    assert (crew.to_dismiss(), free(crew)) == ([], {"b": 2})
    crew["a"].jobs.clear()
    assert crew.to_dismiss() == ["a"]


def test_while_a_successor_does_not_come_nobody_else_gives_way():
    """New code that cannot be loaded would take one worker after the other."""
    crew = a_crew("a", "b")
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == ["a"]
    crew.dismissed("a")
    crew.lose("a")
    assert (crew.to_dismiss(), crew.outdated, free(crew)) == ([], 2, {"b": 2})
    attend(crew, "a", 2, generation=2)
    assert crew.to_dismiss() == ["b"]


def test_the_next_one_gives_way_when_the_former_was_judged_in_its_turn():
    crew = a_crew("a", "b")
    give(crew, "a", "job-1")
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == []
    crew.lose("a")
    # And the one that is lost is started anew.
    assert crew.to_dismiss() == ["b", "a"]


def test_a_worker_that_dies_when_it_is_its_turn_is_not_done_with_before_the_plan_has_reached_it():
    """Whoever restarts it may start it as it was."""
    crew = a_crew("a", "b")
    give(crew, "a", "job-1")
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == []
    attend(crew, "a", 2, generation=1)
    assert (crew.to_dismiss(), free(crew)) == ([], {"b": 2})
    crew["a"].jobs.clear()
    replace(crew, "a", 3)
    assert crew.to_dismiss() == ["b"]


def test_a_worker_that_dies_and_comes_back_with_the_newer_plan_is_done_with():
    crew = a_crew("a", "b")
    give(crew, "a", "job-1")
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == []
    attend(crew, "a", 2, generation=2)
    assert free(crew) == {"a": 1, "b": 2}
    assert crew.to_dismiss() == ["b"]


def test_a_still_newer_plan_begins_anew():
    crew = a_crew("a", "b")
    crew.plan(["a", "b"], 2)
    replace(crew, "a")
    give(crew, "b", "job-1")
    assert crew.to_dismiss() == []
    crew.plan(["a", "b"], 3)
    assert crew.outdated == 2
    replace(crew, "a", 3, generation=3)
    assert crew.to_dismiss() == []
    crew["b"].jobs.clear()
    replace(crew, "b", 2, generation=3)
    assert crew.outdated == 0


def test_who_is_being_ended_for_one_plan_gets_no_jobs_under_the_next():
    crew = a_crew("a", "b")
    crew.plan(["a", "b"], 2)
    replace(crew, "a")
    assert crew.to_dismiss() == ["b"]
    crew.plan(["a", "b"], 3)
    assert "b" not in free(crew)


def test_the_same_plan_again_changes_nothing():
    crew = a_crew("a", "b")
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == ["a"]
    crew.plan(["a", "b"], 2)
    assert (crew.to_dismiss(), crew.outdated) == ([], 2)


def test_a_plan_that_comes_late_does_not_make_old_workers_good_again():
    crew = a_crew("a", "b")
    crew.plan(["a", "b"], 2)
    crew.plan(["a"], 1)
    assert crew.outdated == 1
    assert crew.to_dismiss() == ["a", "b"]


def test_workers_that_are_newer_than_the_plan_stay():
    """A predecessor had begun to follow the next."""
    crew = a_crew("a", "b", generation=1)
    attend(crew, "b", 2, generation=2)
    assert (crew.to_dismiss(), crew.outdated) == ([], 0)
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == ["a"]


def test_one_that_does_not_answer_when_a_newer_plan_comes_is_started_anew_under_it():
    """It may wait for a place that the newer plan does not ask for. But first it is given every chance."""
    crew = a_crew("a")
    crew.plan(["a", "b"], 1)
    crew.plan(["a", "b"], 1)
    assert crew.to_dismiss() == []
    crew.plan(["a", "b"], 2)
    assert crew.to_dismiss() == ["a"]
    crew.lose("b")
    assert crew.to_dismiss() == ["b"]


def test_a_newer_plan_that_comes_before_everybody_was_heard_ends_nobody_who_has_jobs():
    crew = Crew(["a", "b"], (), 1)
    crew.plan(["a", "b"], 2)
    for name in ("a", "b"):
        attend(crew, name)
        give(crew, name, f"job-{name}")
    assert crew.to_dismiss() == []
    crew["a"].jobs.clear()
    assert crew.to_dismiss() == ["a"]


@pytest.mark.parametrize("busy", [False, True])
def test_the_others_have_their_turn_when_the_one_that_had_it_is_not_wanted_any_more(busy):
    crew = a_crew("a", "b", "c")
    attend(crew, "a", 2, generation=2)
    attend(crew, "b", 2, generation=2)
    crew.plan(["c", "b", "a"], 2)
    if busy:
        give(crew, "c", "job-1")
        crew.to_dismiss()
        crew.plan(["b", "a"], 2)
        crew["c"].jobs.clear()
        assert crew.to_dismiss() == ["c"]
    else:
        assert crew.to_dismiss() == ["c"]
        crew.plan(["b", "a"], 2)
    crew.dismissed("c")
    assert crew.outdated == 0
    attend(crew, "a", 3, generation=1)
    assert crew.to_dismiss() == ["a"]


def test_workers_that_are_to_leave_anyway_are_not_rolled():
    crew = a_crew("a", "z")
    give(crew, "z", "job-1")
    crew.plan(["a"], 2)
    assert (crew.to_dismiss(), crew.outdated) == (["a"], 1)
