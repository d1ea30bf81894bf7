"""`hasty wait`: a bar for each job, until all have ended."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hasty.cli import options, tables
from hasty.cli.bars import Bars
from hasty.cli.exits import FINAL, Exit, of_status, worst
from hasty.cli.given import read_duration
from hasty.cli.problems import saying, tell_interrupt, tell_problem
from hasty.cli.reaching import AsJson, KeyFile, Url, reach_async
from hasty.cli.voice import Voice
from hasty.errors import HastyError, WaitTimeout

if TYPE_CHECKING:
    from hasty.client import AsyncClient, Job

#: Jobs that are followed at once; each holds a connection. Others wait for their turn, and miss nothing.
_AT_ONCE = 32

#: What a job did before is told at once. Where nothing comes, something on the way keeps it back.
_FIRST_WITHIN_S = 5.0


def wait_command(
    job_ids: options.JobIds,
    *,
    within: options.Within = None,
    url: Url = None,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Wait until jobs have ended.

    The exit code says how; of several it is the worst. Ctrl-C ends the waiting and leaves the jobs alone.
    With --json each is written when it has ended.
    """
    voice, limit_s = Voice(as_json=as_json), read_duration("--within", within)
    raise typer.Exit(wait_for(list(dict.fromkeys(job_ids)), limit_s, voice, url, api_key_file))


def wait_for(
    job_ids: Sequence[str], limit_s: float | None, voice: Voice, url: str | None, key_file: Path | None
) -> Exit:
    """Wait for jobs, show how far they are and how they ended; return the exit code for all.

    Ctrl-C leaves them alone, and says so, to programs as a problem of each that is still waited for.
    """
    left = list(job_ids)
    try:
        return asyncio.run(_wait(job_ids, limit_s, voice, url, key_file, done=left.remove))
    except KeyboardInterrupt:
        voice.note(f"left alone; to wait again: hasty wait {' '.join(job_ids)}")
        if voice.as_json:
            tell_interrupt(left)
        raise


async def _wait(
    job_ids: Sequence[str],
    limit_s: float | None,
    voice: Voice,
    url: str | None,
    key_file: Path | None,
    *,
    done: Callable[[str], None],
) -> Exit:
    async with reach_async(url, key_file) as client:
        with Bars(voice) as bars:
            waiting = Waiting(client, bars, voice, limit_s)

            async def for_one(job_id: str) -> Exit:
                code = await waiting.for_one(job_id)
                done(job_id)
                return code

            codes = await asyncio.gather(*map(for_one, job_ids))
    voice.tell(tables.ends([waiting.last[job_id] for job_id in job_ids if job_id in waiting.last]))
    return worst(codes)


class Waiting:
    """Several jobs that are waited for."""

    def __init__(self, client: "AsyncClient", bars: Bars, voice: Voice, limit_s: float | None) -> None:
        """Wait with `client`, each job for `limit_s` at most; nothing is asked yet."""
        self.last: dict[str, Job] = {}
        self._client = client
        self._bars = bars
        self._voice = voice
        self._limit_s = limit_s
        self._looks = asyncio.Semaphore(_AT_ONCE)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def for_one(self, job_id: str) -> Exit:
        """Return how a job ended, as an exit code; say what kept us from knowing.

        It is looked at once at least, however short the time is.
        """
        try:
            job = await self._within_the_limit(job_id) or await self._at_the_last_moment(job_id)
        except HastyError as error:
            return tell_problem(saying(error, job_id=job_id), as_json=self._voice.as_json)
        self._voice.record(job)
        return of_status(job.status)

    async def _within_the_limit(self, job_id: str) -> "Job | None":
        """Return the job once it has ended; None where that was not within the limit."""
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._follow(job_id)
        except TimeoutError:
            return None

    async def _at_the_last_moment(self, job_id: str) -> "Job":
        """Return the job if it has ended. Raises WaitTimeout, or why that is not known."""
        try:
            async with self._looks:
                return self._see(await self._client.wait(job_id, 0))
        except WaitTimeout as late:
            self._see(late.job)
            told = f"job {job_id} has not ended within {self._limit_s:g} s"
            raise WaitTimeout(told, job=late.job) from None

    async def _follow(self, job_id: str) -> "Job":
        # A job that is not there, or has ended, needs no turn.
        async with self._looks:
            job = self._see(await self._client.get(job_id))
        if job.status in FINAL:
            return job
        async with self._turns:
            await self._listen(job_id)
            # At once, where it has ended. Where its events cannot be heard, this asks until it has.
            return self._see(await self._client.wait(job_id))

    async def _listen(self, job_id: str) -> None:
        """Hear the job's events to its last; return also where they cannot be heard."""
        with suppress(HastyError, TimeoutError):
            async with asyncio.timeout(_FIRST_WITHIN_S) as limit:
                async for event in self._client.events(job_id):
                    limit.reschedule(None)
                    self._bars.hear(event)

    def _see(self, job: "Job") -> "Job":
        self.last[job.id] = job
        self._bars.see(job)
        return job
