"""What was answered before is answered again: to the same job id, and to the same key."""

from collections.abc import Sequence

from hasty.job import Job
from hasty.messages import Accepted, Answer, Attached, Full, KeyReused, Refused, Request
from hasty.store.base import Attachment, JobStore, Keyed

#: What whoever gets no job of his own is told.
TurnedAway = Attached | Refused | Full


class Precedents:
    """Looks for earlier answers. Acceptances are remembered, refusals are not."""

    def __init__(self, jobs: JobStore) -> None:
        """Remember nothing here: `jobs` does."""
        self._jobs = jobs

    async def answer(self, requests: Sequence[Request], answers: dict[str, Answer]) -> Sequence[Request]:
        """Give those whose key came before the answer of that time; return the others."""
        keys = {request.idempotency_key for request in requests if request.idempotency_key is not None}
        if not keys:
            return requests
        known = await self._jobs.by_key(keys)
        answers |= {
            request.job_id: _to(request, again(known[request.idempotency_key], request.fingerprint))
            for request in requests
            if request.idempotency_key in known
        }
        return [request for request in requests if request.idempotency_key not in known]

    async def meet(self, requests: Sequence[Request], answers: dict[str, Answer]) -> Sequence[Request]:
        """Tell those whose jobs exist that they were admitted, for they were; return the others."""
        if not requests:
            return requests
        existing = await self._jobs.get({request.job_id for request in requests})
        answers |= {job_id: accepted(job) for job_id, job in existing.items()}
        return [request for request in requests if request.job_id not in existing]

    async def turn_away(
        self,
        turned_away: Sequence[tuple[Request, TurnedAway]],
        answers: dict[str, Answer],
    ) -> None:
        """Refuse or attach, but for jobs that exist: those were admitted before and are asked for again.

        Who is attached under a key is answered once that is remembered.
        """
        others = {request.job_id for request in await self.meet([r for r, _ in turned_away], answers)}
        left = [(request, verdict) for request, verdict in turned_away if request.job_id in others]
        answers |= await self._remember(
            [
                (request, Attachment(request.idempotency_key, request.fingerprint or "", verdict.job_id))
                for request, verdict in left
                if isinstance(verdict, Attached) and request.idempotency_key is not None
            ]
        )
        for request, verdict in left:
            answers.setdefault(request.job_id, verdict)

    async def _remember(self, attached: Sequence[tuple[Request, Attachment]]) -> dict[str, Answer]:
        """Remember answers; return those that count: another may have been first, with its own."""
        if not attached:
            return {}
        await self._jobs.attach([attachment for _, attachment in attached])
        known = await self._jobs.by_key({attachment.key for _, attachment in attached})
        return {
            request.job_id: _new(again(known[key], request.fingerprint))
            for request, (key, _, _) in attached
            if key in known
        }


def accepted(job: Job) -> Accepted:
    """Say that a job was accepted, as it was then."""
    return Accepted(job.work(), job.due_at)


def again(known: Keyed, fingerprint: str | None) -> Accepted | Attached | KeyReused:
    """Return the answer that was given under a key, unless that was for something else."""
    job = known.job
    if known.fingerprint != fingerprint:
        return KeyReused(job.job_id)
    if not known.made:
        return Attached(job.job_id, replayed=True)
    return Accepted(job.work(), job.due_at, replayed=True)


def _to(request: Request, answer: Accepted | Attached | KeyReused) -> Answer:
    """Return an answer as this request gets it: its own job is nobody's earlier one."""
    if isinstance(answer, Accepted) and answer.work.job_id == request.job_id:
        return answer._replace(replayed=False)
    return answer


def _new(answer: Accepted | Attached | KeyReused) -> Answer:
    """Return an answer as whoever was just attached gets it."""
    return answer._replace(replayed=False) if isinstance(answer, Attached) else answer
