"""What `hasty.store.base.KeyStore` promises, and `hasty keys` on a real mongod."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hasty.errors import StoreUnavailable
from hasty.keys import Scope, mint, rotate
from hasty.store.memory import MemoryKeys
from hasty.store.mongo import MongoKeys
from hasty.store.mongo.connection import connect

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def mongo_keys(database):
    store = MongoKeys(*database)
    await store.prepare()
    return store


@pytest.fixture(params=["memory", "mongo"])
def keys(request):
    return MemoryKeys() if request.param == "memory" else request.getfixturevalue("mongo_keys")


def a_key(name="ci", at=NOW, **changes):
    return mint(name, (Scope.READ, Scope.WRITE), at, **changes)[0]


async def test_a_key_comes_back_as_it_was_added(keys):
    plain = a_key()
    full = replace(a_key("other", lifetime=DAY, rate=0.5), scopes=frozenset(Scope))
    full, _ = rotate(full, NOW, overlap=timedelta(hours=1))
    assert await keys.add(plain, NOW) and await keys.add(full, NOW)
    assert await keys.find([plain.id, full.id, "unknown"]) == {plain.id: plain, full.id: full}
    assert await keys.find([]) == {}
    assert await keys.named("ci", NOW) == plain
    assert await keys.named("CI", NOW) is None


async def test_a_name_is_taken_while_its_key_lives(keys):
    first, second = a_key(), a_key()
    assert await keys.add(first, NOW)
    assert not await keys.add(second, NOW)
    assert await keys.find([second.id]) == {}
    assert await keys.named("ci", NOW) == first


async def test_adding_the_same_key_again_changes_nothing(keys):
    """Who got no answer asks again."""
    key = a_key()
    assert [await keys.add(key, NOW) for _ in range(3)] == [True] * 3
    assert await keys.listed() == (key,)


async def test_a_revoked_key_stays_and_its_name_is_free(keys):
    key, next_one = a_key(), a_key()
    await keys.add(key, NOW)
    revoked = replace(key, revoked_at=NOW + DAY)
    assert await keys.revoke("ci", NOW + DAY) == revoked
    assert await keys.revoke("ci", NOW + DAY) is None
    assert await keys.find([key.id]) == {key.id: revoked}
    assert await keys.named("ci", NOW + DAY) is None
    assert not await keys.add(key, NOW + DAY), "it does not come back"
    assert await keys.add(next_one, NOW + DAY)
    assert await keys.named("ci", NOW + DAY) == next_one


async def test_the_name_of_an_expired_key_is_free_and_it_does_not_come_back(keys):
    key, next_one = a_key(lifetime=DAY), a_key()
    await keys.add(key, NOW)
    assert not await keys.add(next_one, NOW + DAY - timedelta(milliseconds=1))
    assert await keys.named("ci", NOW + DAY) is None
    assert await keys.revoke("ci", NOW + DAY) is None
    rotated, _ = rotate(key, NOW, overlap=DAY, lifetime=9 * DAY)
    assert not await keys.rotate(key, rotated, NOW + DAY)
    assert await keys.add(next_one, NOW + DAY)
    assert await keys.find([key.id, next_one.id]) == {key.id: key, next_one.id: next_one}


async def test_whether_there_is_a_live_key(keys):
    assert not await keys.any_live(NOW)
    await keys.add(a_key("brief", lifetime=DAY), NOW)
    assert await keys.any_live(NOW) and not await keys.any_live(NOW + DAY)
    await keys.add(a_key("lasting"), NOW)
    assert await keys.any_live(NOW + DAY)
    await keys.revoke("lasting", NOW + DAY)
    assert not await keys.any_live(NOW + DAY)


async def test_they_are_listed_newest_first_also_those_that_have_ended(keys):
    old, new, newest = (a_key(f"{n}", at=NOW + n * DAY, lifetime=DAY) for n in range(3))
    for key in (new, old, newest):
        await keys.add(key, NOW)
    ended = await keys.revoke("1", NOW)
    assert await keys.listed() == (newest, ended, old)


async def test_a_key_gets_new_secrets_if_nobody_was_first(keys):
    key = a_key()
    await keys.add(key, NOW)
    rotated, _ = rotate(key, NOW, overlap=DAY)
    late, _ = rotate(key, NOW, overlap=DAY)
    assert await keys.rotate(key, rotated, NOW)
    assert not await keys.rotate(key, late, NOW)
    assert await keys.rotate(key, rotated, NOW), "asking again is no second time"
    assert await keys.named("ci", NOW) == rotated
    await keys.revoke("ci", NOW)
    assert not await keys.rotate(rotated, rotate(rotated, NOW, overlap=DAY)[0], NOW)
    assert not await keys.rotate(a_key(), rotated, NOW)


async def test_a_rotation_that_another_follows_at_once_was_made(mongo_keys, database, monkeypatch):
    key = a_key()
    await mongo_keys.add(key, NOW)
    second, _ = rotate(key, NOW, overlap=DAY)
    third, _ = rotate(second, NOW, overlap=DAY)
    find_one = mongo_keys._keys.find_one

    async def after_another(*about):
        await MongoKeys(*database).rotate(second, third, NOW)
        return await find_one(*about)

    monkeypatch.setattr(mongo_keys._keys, "find_one", after_another)
    assert await mongo_keys.rotate(key, second, NOW)


async def test_of_several_that_add_a_name_or_rotate_a_key_one_wins(keys):
    for name in map(str, range(10)):
        rivals = [a_key(name, at=NOW + DAY) for _ in range(8)]
        await keys.add(a_key(name, lifetime=DAY), NOW)
        won = await asyncio.gather(*(keys.add(rival, NOW + DAY) for rival in rivals))
        assert sum(won) == 1
        (key,) = (rival for rival, has_won in zip(rivals, won, strict=True) if has_won)
        turns = [rotate(key, NOW + DAY, overlap=DAY)[0] for _ in range(8)]
        won = await asyncio.gather(*(keys.rotate(key, turn, NOW + DAY) for turn in turns))
        assert sum(won) == 1
        assert await keys.named(name, NOW + DAY) == turns[won.index(True)]


async def test_who_prepares_twice_or_at_the_same_time_prepares_once(database):
    stores = [MongoKeys(*database) for _ in range(4)]
    await asyncio.gather(*(store.prepare() for store in stores))
    assert await stores[0].add(a_key(), NOW) and not await stores[1].add(a_key(), NOW)


async def test_no_secret_is_in_the_database(mongo_keys, database):
    key, text = mint("ci", (Scope.ADMIN,), NOW)
    await mongo_keys.add(key, NOW)
    client, name = database
    found = [document async for document in client[name]["api_keys"].find()]
    assert key.id in str(found) and text.rpartition("_")[2] not in str(found)


async def test_no_clear_answer_is_told_as_such(mongo_uri):
    client = connect(mongo_uri)
    await client.close()
    store = MongoKeys(client)
    for asked in (
        store.prepare(),
        store.add(a_key(), NOW),
        store.find(["a"]),
        store.named("a", NOW),
        store.listed(),
        store.any_live(NOW),
        store.revoke("a", NOW),
        store.rotate(a_key(), a_key(), NOW),
    ):
        with pytest.raises(StoreUnavailable):
            await asked
