"""Batches that form by themselves under load."""

import asyncio

import pytest

from hasty.batching import Batcher
from hasty.errors import Overloaded, StoreUnavailable
from tests.unit.examples import virtually


class Writer:
    """Writes one batch a second; notes each batch and when it began."""

    def __init__(self, seconds=1.0):
        self.seconds = seconds
        self.batches = []
        self.began_at = []
        self.under_way = 0
        self.most_at_once = 0

    async def __call__(self, items):
        self.batches.append(list(items))
        self.began_at.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        if "bad" in items:
            raise StoreUnavailable(f"cannot write {items}")
        return [f"wrote {item}" for item in items]


def hand_in(batcher, *items):
    return [asyncio.ensure_future(batcher.submit(item)) for item in items]


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


@virtually
async def test_an_item_that_finds_nothing_under_way_is_written_at_once():
    writer = Writer()
    batcher = Batcher(writer)
    batcher.post(["a"])
    await turns(2)
    assert (writer.batches, writer.began_at) == ([["a"]], [0.0])


@virtually
async def test_what_one_turn_of_the_loop_brings_is_written_together():
    writer = Writer()
    answers = await asyncio.gather(*hand_in(Batcher(writer), "a", "b", "c"))
    assert answers == ["wrote a", "wrote b", "wrote c"]
    assert writer.batches == [["a", "b", "c"]]


@virtually
async def test_what_arrives_during_a_write_forms_the_next_batch():
    writer = Writer()
    batcher = Batcher(writer)
    first = hand_in(batcher, "a")
    await asyncio.sleep(0.2)
    second = hand_in(batcher, "b")
    await asyncio.sleep(0.2)
    second += hand_in(batcher, "c")
    assert await asyncio.gather(*first, *second) == ["wrote a", "wrote b", "wrote c"]
    assert writer.batches == [["a"], ["b", "c"]]
    assert writer.began_at == [0.0, 1.0]
    assert writer.most_at_once == 1


@virtually
async def test_a_batch_takes_max_items_and_the_rest_comes_next_in_order():
    writer = Writer()
    batcher = Batcher(writer, max_items=3)
    answers = await asyncio.gather(*hand_in(batcher, *range(8)))
    assert answers == [f"wrote {n}" for n in range(8)]
    assert writer.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


@virtually
async def test_a_group_stays_together_and_gets_its_own_results():
    writer = Writer()
    batcher = Batcher(writer, max_items=3)
    alone = hand_in(batcher, "a", "b")
    await turns(1)
    group = asyncio.ensure_future(batcher.submit_all(["c", "d"]))
    assert await asyncio.gather(*alone, group) == ["wrote a", "wrote b", ["wrote c", "wrote d"]]
    assert writer.batches == [["a", "b"], ["c", "d"]]


@virtually
async def test_a_group_larger_than_a_batch_goes_whole_and_alone():
    writer = Writer()
    batcher = Batcher(writer, max_items=2)
    group = asyncio.ensure_future(batcher.submit_all(list("abcde")))
    await turns(1)
    after = hand_in(batcher, "f")
    assert await group == [f"wrote {letter}" for letter in "abcde"]
    assert await asyncio.gather(*after) == ["wrote f"]
    assert writer.batches == [list("abcde"), ["f"]]


@virtually
async def test_more_than_the_capacity_is_refused_and_nothing_of_it_is_kept():
    writer = Writer()
    batcher = Batcher(writer, capacity=3)
    under_way = hand_in(batcher, "a")
    await turns(3)
    waiting = hand_in(batcher, "b", "c")
    await turns(1)
    with pytest.raises(Overloaded, match=r"^2 items are waiting already$"):
        await batcher.submit_all(["d", "e"])
    waiting += hand_in(batcher, "f")
    await turns(1)
    with pytest.raises(Overloaded):
        await batcher.submit("g")
    with pytest.raises(Overloaded):
        batcher.post(["h"])
    assert await asyncio.gather(*under_way, *waiting) == ["wrote a", "wrote b", "wrote c", "wrote f"]
    assert writer.batches == [["a"], ["b", "c", "f"]]
    assert await batcher.submit("later") == "wrote later"


@virtually
async def test_a_batch_takes_max_bytes_and_the_rest_comes_next_in_order():
    writer = Writer()
    batcher = Batcher(writer, max_bytes=10, weigh=len)
    items = ["a" * 6, "b" * 4, "c", "d" * 9, "e" * 30, "f"]
    assert await asyncio.gather(*hand_in(batcher, *items)) == [f"wrote {item}" for item in items]
    # What is heavier than a batch goes alone.
    assert writer.batches == [["a" * 6, "b" * 4], ["c", "d" * 9], ["e" * 30], ["f"]]


@virtually
async def test_a_group_heavier_than_a_batch_goes_whole():
    writer = Writer()
    batcher = Batcher(writer, max_bytes=10, weigh=len)
    light = hand_in(batcher, "a")
    await turns(1)
    await asyncio.gather(batcher.submit_all(["b" * 6, "c" * 6]), *light)
    assert writer.batches == [["a"], ["b" * 6, "c" * 6]]


@virtually
async def test_more_bytes_than_the_capacity_are_refused_and_make_room_as_they_leave():
    writer = Writer()
    batcher = Batcher(writer, weigh=len, capacity_bytes=10)
    taken = hand_in(batcher, "a" * 30)  # where nothing waits, what is too heavy may
    await turns(3)
    taken += hand_in(batcher, "b" * 6)
    await turns(1)
    with pytest.raises(Overloaded, match=r"^1 items are waiting already$"):
        await batcher.submit("c" * 5)
    taken += hand_in(batcher, "d" * 4)
    assert len(await asyncio.gather(*taken)) == 3
    assert await batcher.submit("c" * 5) == "wrote ccccc"
    assert (batcher._size, batcher._weight) == (0, 0)


@virtually
async def test_without_a_capacity_nothing_is_refused():
    writer = Writer()
    batcher = Batcher(writer, max_items=200_000)
    under_way = hand_in(batcher, "a")
    await turns(3)
    batcher.post(range(150_000))
    batcher.post(range(10))
    await asyncio.gather(*under_way)
    await asyncio.sleep(2)
    assert len(writer.batches[1]) == 150_010


@virtually
async def test_an_error_reaches_everybody_of_that_batch_and_nobody_else():
    writer = Writer()
    batcher = Batcher(writer, max_items=2)
    answers = await asyncio.gather(*hand_in(batcher, "a", "b", "c", "bad", "d"), return_exceptions=True)
    assert answers[:2] == ["wrote a", "wrote b"]
    assert [type(answer) for answer in answers[2:4]] == [StoreUnavailable, StoreUnavailable]
    assert str(answers[2]) == str(answers[3]) == "cannot write ['c', 'bad']"
    assert answers[4] == "wrote d"


@pytest.mark.parametrize("error", [asyncio.CancelledError, ZeroDivisionError, MemoryError])
@virtually
async def test_whatever_a_write_raises_nobody_waits_for_ever(error):
    async def write(_items):
        raise error

    batcher = Batcher(write)
    for _ in range(2):
        with pytest.raises(error):
            await batcher.submit("a")


@pytest.mark.parametrize("results", [None, [], [1], [1, 2, 3]], ids=str)
@virtually
async def test_results_that_do_not_match_the_items_are_an_error_for_everybody(results):
    async def write(_items):
        return results

    answers = await asyncio.gather(*hand_in(Batcher(write), "a", "b"), return_exceptions=True)
    assert [type(answer) for answer in answers] in ([TypeError] * 2, [RuntimeError] * 2)


@virtually
async def test_a_caller_that_leaves_takes_nothing_with_it():
    writer = Writer()
    batcher = Batcher(writer)
    under_way = hand_in(batcher, "a", "b")
    await asyncio.sleep(0.5)
    waiting = hand_in(batcher, "c", "d")
    await turns(1)
    under_way[0].cancel()
    waiting[0].cancel()
    assert await under_way[1] == "wrote b"
    assert await waiting[1] == "wrote d"
    # What was not on its way yet is not written for nobody.
    assert writer.batches == [["a", "b"], ["d"]]
    assert under_way[0].cancelled()
    assert waiting[0].cancelled()


@virtually
async def test_a_caller_that_left_before_an_error_disturbs_nobody():
    writer = Writer()
    batcher = Batcher(writer)
    leaving, staying = hand_in(batcher, "a", "bad")
    await asyncio.sleep(0.5)
    leaving.cancel()
    with pytest.raises(StoreUnavailable):
        await staying
    assert await batcher.submit("c") == "wrote c"


@virtually
async def test_lanes_are_batches_at_once():
    writer = Writer()
    batcher = Batcher(writer, lanes=2, max_items=1)
    assert len(await asyncio.gather(*hand_in(batcher, *"abcde"))) == 5
    assert writer.batches == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert writer.began_at == [0.0, 0.0, 1.0, 1.0, 2.0]
    assert writer.most_at_once == 2


@virtually
async def test_a_second_lane_takes_what_comes_while_the_first_is_under_way():
    writer = Writer()
    batcher = Batcher(writer, lanes=2)
    first = hand_in(batcher, "a")
    await asyncio.sleep(0.25)
    second = hand_in(batcher, "b")
    await asyncio.sleep(0.25)
    third = hand_in(batcher, "c", "d")
    await asyncio.gather(*first, *second, *third)
    assert writer.batches == [["a"], ["b"], ["c", "d"]]
    assert writer.began_at == [0.0, 0.25, 1.0]


@virtually
async def test_lingering_waits_for_company():
    writer = Writer()
    batcher = Batcher(writer, linger_s=5.0)
    batcher.post(["a"])
    await asyncio.sleep(4.0)
    batcher.post(["b"])
    await asyncio.sleep(1.5)
    batcher.post(["c"])
    await asyncio.sleep(20.0)
    assert writer.batches == [["a", "b"], ["c"]]
    # The second batch waits for company from when the first is written.
    assert writer.began_at == [5.0, 11.0]


@virtually
async def test_what_is_posted_is_written_though_nobody_waits():
    writer = Writer()
    batcher = Batcher(writer)
    batcher.post([0, 1])
    batcher.post([])
    batcher.post([2])
    await asyncio.sleep(1.5)
    assert writer.batches == [[0, 1, 2]]


@virtually
async def test_posting_nothing_writes_nothing():
    writer = Writer()
    Batcher(writer).post([])
    await asyncio.sleep(1)
    assert writer.batches == []


@virtually
async def test_ten_thousand_callers_get_their_own_answers():
    writer = Writer(seconds=0.01)
    batcher = Batcher(writer, max_items=500, lanes=3)
    answers = await asyncio.gather(*hand_in(batcher, *range(10_000)))
    assert answers == [f"wrote {n}" for n in range(10_000)]
    assert len(writer.batches) == 20
