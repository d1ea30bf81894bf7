"""The Clerk's duties go on beside each other, whatever becomes of one."""

import asyncio

from hasty.actors.clerk import Clerk
from hasty.testing import VirtualClock, run_virtually


class Duty:
    """Goes on until it is told to break, or to end."""

    def __init__(self):
        self.begun = 0
        self.fate = asyncio.get_running_loop().create_future()

    async def __call__(self):
        self.begun += 1
        self.fate = asyncio.get_running_loop().create_future()
        await self.fate


async def go_on(clerk_duties):
    clerk = Clerk(VirtualClock(asyncio.get_running_loop()), clerk_duties)
    task = asyncio.ensure_future(clerk.serve())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return clerk, task


def test_a_duty_that_breaks_stops_no_other_and_is_begun_again(caplog):
    async def scenario():
        sound, fragile = Duty(), Duty()
        clerk, _ = await go_on({"sound": sound, "fragile": fragile})
        assert (sound.begun, fragile.begun) == (1, 1)
        assert (await clerk.health()).problem is None
        for times in (2, 3):
            fragile.fate.set_exception(ValueError("odd"))
            await asyncio.sleep(1)
            assert (await clerk.health()).problem == "fragile: ValueError('odd')"
            await asyncio.sleep(10)
            assert (sound.begun, fragile.begun) == (1, times)
            assert (await clerk.health()).problem is None
        assert not sound.fate.done()

    run_virtually(scenario())
    assert "odd" in caplog.text


def test_a_duty_that_ends_is_begun_again():
    async def scenario():
        duty = Duty()
        clerk, _ = await go_on({"duty": duty})
        duty.fate.set_result(None)
        await asyncio.sleep(1)
        assert (await clerk.health()).problem == "duty: it ended"
        await asyncio.sleep(10)
        assert duty.begun == 2

    run_virtually(scenario())


def test_what_cannot_be_built_is_tried_again():
    async def scenario():
        tries = []

        async def build():
            tries.append(asyncio.get_running_loop().time())
            raise RuntimeError("no such module")

        clerk, task = await go_on({"timetable": build})
        await asyncio.sleep(60)
        assert 10 < len(tries) < 14
        assert "no such module" in (await clerk.health()).problem
        assert not task.done()

    run_virtually(scenario())
