"""Lists that come page by page."""

import math
from collections.abc import Sequence

from hasty.client.calls import list_jobs, list_schedules
from hasty.client.models import Job, Schedule
from hasty.client.patience import Limits, ask
from hasty.client.steps import Course, Item, Series

#: Jobs carry payloads and results: a page has so many at most.
_PAGE = 100


def each_job(query: Sequence[tuple[str, str]], limit: int | None, limits: Limits) -> Series[Job]:
    """Yield the jobs that a query chooses, so many at most; the next page is asked for when it is needed."""
    left, cursor = math.inf if limit is None else limit, None
    while left > 0:
        page = yield from ask(list_jobs(query, int(min(left, _PAGE)), cursor), limits)
        for job in page.jobs:
            yield Item(job)
        left -= len(page.jobs)
        cursor = page.next_cursor
        if cursor is None:
            return


def all_schedules(limits: Limits) -> Course[list[Schedule]]:
    """Lead to every schedule."""
    found: list[Schedule] = []
    cursor = None
    while True:
        page = yield from ask(list_schedules(cursor), limits)
        found += page.schedules
        cursor = page.next_cursor
        if cursor is None:
            return found
