"""All that the verdict is made from: the answers we got, and what MongoDB has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hasty.chaos.answers import Answer
from hasty.job import Job
from hasty.store.mongo.audit import History, Page, Telling


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one run left, collected after its jobs had time to end."""

    answers: Sequence[Answer]
    #: Every job of the objects that were named, acknowledged or not; by id.
    jobs: Mapping[str, Job] = field(default_factory=dict)
    #: The ledger's pages of these jobs; by id.
    pages: Mapping[str, Page] = field(default_factory=dict)
    history: History = field(default_factory=lambda: History({}, {}))
    #: The events of these jobs; None where hasty keeps none.
    telling: Telling | None = None
    window_s: float

    def of_objects(self) -> dict[str, list[Job]]:
        """Return each object's jobs, by run."""
        found: dict[str, list[Job]] = {}
        for job in sorted(self.jobs.values(), key=lambda job: job.run):
            found.setdefault(job.object_id, []).append(job)
        return found
