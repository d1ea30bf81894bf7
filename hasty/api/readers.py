"""Who reads for people, beside the Gateway: handed to the surface that shows it."""

from typing import NamedTuple

from hasty.handlers import Handlers
from hasty.store.base import AttemptReader, JobReader, JobStore


class Readers(NamedTuple):
    """What `/v1` shows of jobs, objects, attempts and handlers comes from here."""

    lists: JobReader
    attempts: AttemptReader
    #: It tells the time by which windows are judged.
    jobs: JobStore
    handlers: Handlers
