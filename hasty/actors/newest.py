"""The newest jobs of the objects that were seen last: a cache of bounded size."""

from collections import OrderedDict

from hasty.job import Job

#: Objects whose newest job is remembered, and about how many bytes they take: whichever is met first.
_OBJECTS = 50_000
_BYTES = 64 * 1024 * 1024


class Newest:
    """Forgets what was not put for the longest time once it is full."""

    def __init__(self) -> None:
        """Start empty."""
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._weight = 0

    def get(self, object_id: str) -> Job | None:
        """Return what was put last for this object, if it is still known."""
        return self._jobs.get(object_id)

    def put(self, job: Job) -> None:
        """Remember this as its object's newest job."""
        self.forget(job.object_id)
        self._jobs[job.object_id] = job
        self._weight += job.weight
        while len(self._jobs) > _OBJECTS or self._weight > _BYTES:
            self.forget(next(iter(self._jobs)))

    def forget(self, object_id: str) -> None:
        """Know nothing of this object."""
        job = self._jobs.pop(object_id, None)
        self._weight -= job.weight if job is not None else 0
