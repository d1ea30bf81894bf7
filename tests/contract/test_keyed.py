"""What `hasty.store.base.JobStore` promises of answers that were given under a client's key."""

import asyncio
import itertools
import random
from collections import Counter
from datetime import timedelta

import pytest

from hasty.actors.registry import Registry
from hasty.clock import SystemClock
from hasty.dispatch import Mark, Postpone, Settle
from hasty.errors import Unreachable
from hasty.job import Outcome, Status, Token
from hasty.messages import Accepted, Admit, Attached, OnConflict, Refused
from hasty.store.base import KEYS_KEPT, Attachment, Keyed
from hasty.store.memory import MemoryJobStore
from hasty.store.mongo import MongoJobStore
from hasty.store.mongo.connection import connect
from tests.unit.examples import NOW, a_job, a_request, after


def made(job_id="job-1", key="k", fingerprint="f", **changes):
    about = {"object_id": f"object of {job_id}", "idempotency_key": key, "fingerprint": fingerprint}
    return a_job(job_id, **(about | changes))


async def known(jobs, *keys):
    """Whose answer each key has, and whether it was made for it."""
    return {key: (found.job.job_id, found.made) for key, found in (await jobs.by_key(keys)).items()}


async def end(jobs, *job_ids):
    await jobs.settle([Settle(job_id, Outcome(Status.FINISHED, NOW)) for job_id in job_ids], 1, NOW)


async def forget(jobs):
    """Let those that have ended go, as time does."""
    if isinstance(jobs, MemoryJobStore):
        jobs.expire()
    else:
        await jobs._jobs.delete_many({"ended_at": {"$exists": True}, "expires_at": {"$lte": LONG_PAST}})


LONG_PAST = NOW + timedelta(days=2)


# Made for it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["k", "v1::a.b$c{}", '"', "'", "\\", "~" * 255, "$where", "a\0b", "ü"])
@pytest.mark.parametrize("fingerprint", ["f", ""])
async def test_the_job_that_was_made_for_a_key_is_found_by_it(jobs, key, fingerprint):
    job = made(key=key, fingerprint=fingerprint)
    assert await jobs.by_key([key]) == {}
    await jobs.insert([job, a_job("job-2", object_id="keyless")])
    assert await jobs.by_key([key, "unknown"]) == {key: Keyed(job, fingerprint, made=True)}
    assert (await jobs.get(["job-1"]))["job-1"] == job


async def test_a_key_is_taken_once_whatever_the_object(jobs):
    await jobs.insert([made("job-1")])
    assert await jobs.insert([made("job-2"), made("job-3", "other")]) == {"job-3"}
    assert set(await jobs.get(["job-1", "job-2", "job-3"])) == {"job-1", "job-3"}
    assert await known(jobs, "k", "other") == {"k": ("job-1", True), "other": ("job-3", True)}
    # The same job again is not new.
    assert await jobs.insert([made("job-1")]) == set()


async def test_of_several_in_one_insert_with_one_key_one_is_new(jobs):
    new = await jobs.insert([made(f"job-{n}", "k") for n in range(5)] + [made("other", "l")])
    assert "other" in new
    assert len(new) == 2
    assert set(await jobs.get([f"job-{n}" for n in range(5)])) == new - {"other"}


async def test_a_job_that_lost_for_its_run_does_not_take_its_key(jobs):
    await jobs.insert([made("job-1", "k", object_id="x")])
    assert await jobs.insert([made("job-2", "free", object_id="x")]) == set()
    assert await jobs.by_key(["free"]) == {}
    assert await jobs.insert([made("job-3", "free", object_id="x", run=2)]) == {"job-3"}


async def test_jobs_without_a_key_stand_in_nobodys_way(jobs):
    keyless = [a_job(f"job-{n}", object_id=f"object-{n}") for n in range(20)]
    assert len(await jobs.insert(keyless)) == 20
    assert (await jobs.get(["job-1"]))["job-1"].idempotency_key is None


async def test_a_key_outlasts_all_that_befalls_its_job(jobs):
    await jobs.insert([made(), made("job-2", "l")])
    await jobs.attach([Attachment("attached", "g", "job-1")])
    expected = {"k": ("job-1", True), "attached": ("job-1", False)}
    steps = [
        jobs.mark([Mark("job-1", "w", 1, NOW)], 1),
        jobs.postpone([Postpone("job-1", Token(1, 1), 1, after(5), None)], 1),
        jobs.wake(after(5), 9),
        jobs.extend(["job-1"], after(10**6)),
        jobs.adopt(["another"]),
        end(jobs, "job-1"),
    ]
    for step in steps:
        await step
        assert await known(jobs, "k", "attached") == expected
        assert (await jobs.by_key(["attached"]))["attached"].fingerprint == "g"
    # It is the job as it stands.
    assert (await jobs.by_key(["k"]))["k"].job.status is Status.FINISHED


# Attached to it --------------------------------------------------------------------------------


async def test_a_job_that_is_there_already_becomes_the_answer_to_a_key(jobs):
    plain, keyed = a_job("job-1", object_id="x"), made("job-2", "own")
    await jobs.insert([plain, keyed])
    for _ in range(2):
        await jobs.attach([Attachment("k", "f", "job-1"), Attachment("l", "g", "job-2")])
        assert await jobs.by_key(["k", "l", "own"]) == {
            "k": Keyed(plain, "f", made=False),
            "l": Keyed(keyed, "g", made=False),
            "own": Keyed(keyed, "f", made=True),
        }
    # And is what it was.
    assert await jobs.get(["job-1", "job-2"]) == {"job-1": plain, "job-2": keyed}


async def test_the_first_answer_under_a_key_stands(jobs):
    await jobs.insert([made("job-1", "own"), made("job-2", "other")])
    await jobs.attach([Attachment("k", "f", "job-1")])
    await jobs.attach(
        [
            Attachment("k", "g", "job-2"),
            Attachment("k", "g", "job-1"),
            Attachment("own", "g", "job-2"),
            Attachment("own", "g", "job-1"),
            Attachment("free", "g", "job-2"),
        ]
    )
    assert await known(jobs, "k", "own", "free") == {
        "k": ("job-1", False),
        "own": ("job-1", True),
        "free": ("job-2", False),
    }
    fingerprints = {key: found.fingerprint for key, found in (await jobs.by_key(["k", "own"])).items()}
    assert fingerprints == {"k": "f", "own": "f"}
    # Nor is a job made for a key that another is attached to.
    assert await jobs.insert([made("job-3", "k")]) == set()


async def test_a_job_that_is_gone_or_never_was_is_the_answer_to_nothing(jobs):
    await jobs.attach([Attachment("k", "f", "unknown")])
    assert await jobs.by_key(["k"]) == {}
    assert await jobs.get(["unknown"]) == {}
    assert await jobs.insert([made("job-1", "k")]) == {"job-1"}


async def test_a_job_that_has_ended_can_be_an_answer(jobs):
    await jobs.insert([a_job()])
    await end(jobs, "job-1")
    await jobs.attach([Attachment("k", "f", "job-1")])
    assert await known(jobs, "k") == {"k": ("job-1", False)}
    found = (await jobs.get(["job-1"]))["job-1"]
    assert (found.status, found.idempotency_key, found.fingerprint) == (Status.FINISHED, None, None)


async def test_one_job_is_the_answer_to_so_many_keys_and_no_more(jobs):
    await jobs.insert([made("job-1", "own"), a_job("job-2", object_id="x")])
    keys = [f"key-{n:04d}" for n in range(KEYS_KEPT + 3)]
    await jobs.attach([Attachment(key, "f", "job-1") for key in keys])
    assert await known(jobs, "own", *keys) == {
        "own": ("job-1", True),
        **dict.fromkeys(keys[: KEYS_KEPT - 1], ("job-1", False)),
    }
    # Whoever is known stays known, and another job has room.
    await jobs.attach([Attachment(keys[0], "g", "job-1"), Attachment(keys[-1], "f", "job-2")])
    assert await known(jobs, keys[0], keys[-1]) == {keys[0]: ("job-1", False), keys[-1]: ("job-2", False)}
    assert (await jobs.by_key([keys[0]]))[keys[0]].fingerprint == "f"
    await jobs.attach([Attachment(f"more-{n}", "f", "job-2") for n in range(KEYS_KEPT)])
    assert len(await known(jobs, *(f"more-{n}" for n in range(KEYS_KEPT)))) == KEYS_KEPT - 1


async def test_a_key_is_free_once_its_job_is_forgotten(jobs):
    await jobs.insert([made("job-1"), made("job-2", "lives")])
    await jobs.attach([Attachment("attached", "f", "job-1")])
    await end(jobs, "job-1")
    await forget(jobs)
    assert await known(jobs, "k", "attached", "lives") == {"lives": ("job-2", True)}
    assert await jobs.insert([made("job-3"), made("job-4", "attached")]) == {"job-3", "job-4"}
    assert await known(jobs, "k", "attached") == {"k": ("job-3", True), "attached": ("job-4", True)}


# Races -----------------------------------------------------------------------------------------


async def test_of_many_jobs_that_are_made_for_one_key_at_once_one_is(jobs):
    for round_ in range(10):
        key = f"key-{round_}"
        rivals = [made(f"job-{round_}-{n}", key) for n in range(8)]
        won = await asyncio.gather(*(jobs.insert([rival]) for rival in rivals))
        (winner,) = set().union(*won)
        assert await known(jobs, key) == {key: (winner, True)}


async def test_of_many_answers_at_once_to_one_key_one_is_remembered(jobs):
    await jobs.insert([made(f"job-{n}", f"own-{n}") for n in range(8)])
    for round_ in range(10):
        key = f"key-{round_}"
        await asyncio.gather(*(jobs.attach([Attachment(key, f"f-{n}", f"job-{n}")]) for n in range(8)))
        found = (await jobs.by_key([key]))[key]
        assert found.fingerprint == found.job.job_id.replace("job", "f")
    if not isinstance(jobs, MemoryJobStore):
        documents = [found async for found in jobs._jobs.find({})]
        keys = [entry["key"] for found in documents for entry in found["keys"]]
        assert len(keys) == len(set(keys)) == 18


async def test_of_a_job_and_an_answer_for_one_key_at_once_one_has_it(jobs):
    await jobs.insert([a_job("there")])
    for round_ in range(20):
        key = f"key-{round_}"
        new, _ = await asyncio.gather(
            jobs.insert([made(f"job-{round_}", key)]), jobs.attach([Attachment(key, "g", "there")])
        )
        expected = (f"job-{round_}", True) if new else ("there", False)
        assert await known(jobs, key) == {key: expected}
        assert set(await jobs.get([f"job-{round_}"])) == new


async def test_many_at_once_do_not_get_past_the_limit(jobs):
    await jobs.insert([made("job-1", "own")])
    await jobs.attach([Attachment(f"key-{n}", "f", "job-1") for n in range(KEYS_KEPT - 4)])
    late = [f"late-{n}" for n in range(12)]
    await asyncio.gather(*(jobs.attach([Attachment(key, "f", "job-1")]) for key in late))
    assert len(await known(jobs, *late)) == 3


async def test_two_registries_give_one_answer_to_each_key_and_let_one_job_of_an_object_run(
    mongo_uri, database
):
    """Clients with every wish, each of which comes to both with the same key, or without one."""
    chance = random.Random(1)
    wishes = [
        a_request(
            object_id=f"object-{chance.randrange(40)}",
            on_conflict=chance.choice(list(OnConflict)),
            delay_s=chance.choice((None, None, 60.0)),
            idempotency_key=key,
            fingerprint=key,
        )
        for n in range(300)
        for key in [f"key-{n}" if n % 3 else None]
    ]
    ids = itertools.count()
    _, name = database
    async with connect(mongo_uri) as one, connect(mongo_uri) as other:
        stores = [MongoJobStore(client, name) for client in (one, other)]

        async def ask(store):
            registry = Registry(store, NoDispatcher(), SystemClock())
            mine = [wish._replace(job_id=f"job-{next(ids)}") for wish in wishes]
            given = []
            for start in range(0, len(mine), 50):
                batch = tuple(mine[start : start + 50])
                given += zip(batch, (await registry.admit(Admit(batch))).answers, strict=True)
            return given

        answered = [
            pair for given in await asyncio.gather(*(ask(store) for store in stores)) for pair in given
        ]
        documents = [found async for found in one[name]["jobs"].find({})]
        known = await stores[0].by_key([wish.idempotency_key for wish in wishes if wish.idempotency_key])
    told: dict[str, set[str]] = {}
    for request, answer in answered:
        assert isinstance(answer, Accepted | Attached | Refused), answer
        if request.idempotency_key is not None and not isinstance(answer, Refused):
            job_id = answer.work.job_id if isinstance(answer, Accepted) else answer.job_id
            told.setdefault(request.idempotency_key, set()).add(job_id)
    assert {key: {found.job.job_id} for key, found in known.items()} == told
    assert len(told) > 100
    may_run = Counter(found["object_id"] for found in documents if "queue" in found)
    assert set(may_run.values()) == {1}
    runs = Counter((found["object_id"], found["run"]) for found in documents)
    assert set(runs.values()) == {1}


class NoDispatcher:
    """Nobody runs what is admitted here."""

    async def enqueue(self, _message):
        raise Unreachable


async def test_the_clock_says_that_what_is_forgotten_here_is_past():
    assert SystemClock().now() > LONG_PAST
