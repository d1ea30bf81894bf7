"""A handler that says when it ended, by the machine's own clock: `hasty up --handlers hasty.bench.ticking`.

What hasty writes down is in the time of MongoDB's primary, which it follows to some milliseconds.
"""

import asyncio
import time

import hasty


@hasty.handler(name="tick", rerun_window=0)
async def tick(_job: hasty.JobContext, payload: float) -> float:
    """Wait so many seconds; return when that was over, in seconds since 1970."""
    await asyncio.sleep(payload)
    return time.time()
