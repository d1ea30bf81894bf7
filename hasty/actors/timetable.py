"""The Timetable has a job admitted for each firing of a schedule: once, whatever dies."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from hasty.actors.refs import RegistryRef
from hasty.clock import Clock
from hasty.errors import FixTheRequest, IdempotencyKeyReused, TryAgainLater, Unreachable
from hasty.messages import Accepted, Admit, Answer, Attached, Full, KeyReused, Refused, Request, Unknown
from hasty.schedule import Fired, Firing, FiringOutcome, Schedule
from hasty.store.base import ScheduleStore
from hasty.telemetry import ScheduleBroke, TimetableBroke, emit

#: How often it is looked whether a schedule is due.
_LOOK_S = 0.25

#: So many of them at once.
_AT_ONCE = 100

#: A Registry that does not answer within this is asked again.
_ADMIT_WITHIN_S = 10.0

#: After an error that nobody foresaw.
_REST_S = 5.0

#: So much of what went wrong is noted, in characters.
_MOST_TOLD = 1_000

#: Makes the request of a schedule's firing under this job id. Raises FixTheRequest where it cannot be made.
Compose = Callable[[Schedule, str], Request]


class Timetable:
    """Carries out what is due: it decides, has the job admitted, and notes what became of it.

    The decision is in the store, with the job's id, before the Registry hears of it, and the next one
    is made only after the outcome is there. So a firing has one job at most, and each is carried out,
    at whichever moment this dies, freezes or loses an answer, and if there are two of it: the store
    lets one of two decisions stand, and the Registry admits a job id once.

    What was decided is carried out however late that is, and also if its schedule is paused or deleted
    meanwhile. No firing that is due later than that is decided on.

    It breaks where a job was forgotten and somebody, frozen since before, asks for it again.
    """

    def __init__(
        self,
        schedules: ScheduleStore,
        registry: RegistryRef,
        clock: Clock,
        *,
        compose: Compose,
        mint: Callable[[], str],
    ) -> None:
        """Nothing is read yet. `mint` makes job ids."""
        self._schedules = schedules
        self._registry = registry
        self._clock = clock
        self._compose = compose
        self._mint = mint
        self._prepared = False
        #: What was wrong with schedules when it was told last.
        self._told: dict[str, str] = {}

    async def serve(self) -> None:
        """Carry out what is due, for ever. While a store or the Registry is away it waits."""
        while True:
            rest_s = _LOOK_S
            try:
                await self.go_round()
            except TryAgainLater:
                # It all stands in the store, to be carried on with.
                pass
            except Exception as error:  # noqa: BLE001  one bad moment must not end all schedules
                emit(TimetableBroke(repr(error)), level=logging.ERROR)
                rest_s = _REST_S
            await self._clock.sleep(rest_s)

    async def go_round(self) -> None:
        """Carry out all that is due now. Raises TryAgainLater: then some of it may be left."""
        await self._prepare()
        now = self._clock.now()
        stuck: set[str] = set()
        while due := await self._schedules.due(now, _AT_ONCE, stuck):
            under_way = [schedule for schedule in due if schedule.pending is not None]
            await self._schedules.advance(self._decide(due, stuck))
            await self._schedules.advance(await self._carry_out(under_way, stuck))

    async def _prepare(self) -> None:
        if not self._prepared:
            await self._schedules.prepare()
            self._prepared = True

    def _decide(self, due: Sequence[Schedule], stuck: set[str]) -> list[Schedule]:
        """Decide on one firing of each that has none under way."""
        decided = []
        for schedule in due:
            if schedule.pending is None:
                try:
                    decided.append(schedule.decided(self._clock.now(), self._mint()))
                except Exception as error:  # noqa: BLE001  such as a time zone that this machine lacks
                    self._break(schedule, error, stuck)
        return decided

    def _break(self, schedule: Schedule, error: Exception, stuck: set[str]) -> None:
        stuck.add(schedule.name)
        why = repr(error)
        if self._told.get(schedule.name) != why:
            self._told[schedule.name] = why
            emit(ScheduleBroke(schedule.name, why), level=logging.ERROR)

    async def _carry_out(self, under_way: Sequence[Schedule], stuck: set[str]) -> list[Schedule]:
        """Have the jobs admitted; return the schedules with what became of that, as far as it is clear."""
        noted: list[Schedule] = []
        requests: list[tuple[Schedule, Request]] = []
        for schedule in under_way:
            composed = self._request(schedule)
            if isinstance(composed, Fired):
                noted.append(schedule.noted(composed))
            else:
                requests.append((schedule, composed))
        answers = await self._admit([request for _, request in requests])
        for (schedule, _), answer in zip(requests, answers, strict=True):
            assert schedule.pending is not None
            fired = _became(schedule.pending, answer)
            if fired is None:
                stuck.add(schedule.name)
            else:
                noted.append(schedule.noted(fired))
        return noted

    def _request(self, schedule: Schedule) -> Request | Fired:
        """Return what to ask for, or what became of a firing that cannot be asked for as it is."""
        assert schedule.pending is not None
        at, job_id = schedule.pending
        try:
            request = self._compose(schedule, job_id)
        except FixTheRequest as error:
            return _refused(at, error.code, str(error))
        except Exception as error:  # noqa: BLE001  a user's type checks the payload, in code of the user's
            return _refused(at, "internal", repr(error))
        # Whatever the request is by now: the firing is the same.
        return request._replace(idempotency_key=schedule.firing_key, fingerprint=schedule.firing_key)

    async def _admit(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Put the requests to the Registry. Raises TryAgainLater: it may have admitted them."""
        if not requests:
            return ()
        try:
            async with asyncio.timeout(_ADMIT_WITHIN_S):
                return (await self._registry.admit(Admit(tuple(requests)))).answers
        except TimeoutError:
            raise Unreachable("the registry did not answer in time") from None


def _became(firing: Firing, answer: Answer) -> Fired | None:
    """Return what became of a firing; None: it is not decided, or not known, and must be asked again."""
    match answer:
        case Accepted():
            return Fired(firing.at, FiringOutcome.ACCEPTED, answer.work.job_id)
        case Attached():
            return Fired(firing.at, FiringOutcome.ATTACHED, answer.job_id)
        case Refused():
            return _refused(firing.at, answer.reason, "The object's last job is in the way.", answer.job_id)
        case KeyReused():
            return _refused(firing.at, IdempotencyKeyReused.code, "Another job has its name.", answer.job_id)
        case Full() | Unknown():
            return None


def _refused(at: datetime, code: str, message: str, job_id: str | None = None) -> Fired:
    # It may be a user's words, which may be of any length, and hold what is no text elsewhere.
    told = message[:_MOST_TOLD].encode("utf-8", "replace").decode()
    return Fired(at, FiringOutcome.REFUSED, job_id, {"code": str(code), "message": told})
