"""The newest jobs of the objects that were seen last: a cache of bounded size."""

from collections import OrderedDict

from hasty.job import Job

#: Objects whose newest job is remembered.
_OBJECTS = 50_000


class Newest:
    """Forgets what was not put for the longest time once it is full. Knows jobs in brief: none is heavy."""

    def __init__(self) -> None:
        """Start empty."""
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def get(self, object_id: str) -> Job | None:
        """Return what was put last for this object, in brief, if it is still known."""
        return self._jobs.get(object_id)

    def put(self, job: Job) -> None:
        """Remember this as its object's newest job."""
        self.forget(job.object_id)
        self._jobs[job.object_id] = job.in_brief()
        while len(self._jobs) > _OBJECTS:
            self._jobs.popitem(last=False)

    def forget(self, object_id: str) -> None:
        """Know nothing of this object."""
        self._jobs.pop(object_id, None)
