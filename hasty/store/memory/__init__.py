"""The reference stores: the contract in plain Python, for tests and for reading."""

from hasty.store.memory.events import MemoryEventStore
from hasty.store.memory.jobs import MemoryJobStore
from hasty.store.memory.keys import MemoryKeys
from hasty.store.memory.ledger import Attempt, MemoryLedger, Page
from hasty.store.memory.outbox import MemoryOutbox
from hasty.store.memory.reading import MemoryAttempts, MemoryJobReader
from hasty.store.memory.schedules import MemoryScheduleStore

__all__ = [
    "Attempt",
    "MemoryAttempts",
    "MemoryEventStore",
    "MemoryJobReader",
    "MemoryJobStore",
    "MemoryKeys",
    "MemoryLedger",
    "MemoryOutbox",
    "MemoryScheduleStore",
    "Page",
]
