"""The reference stores: the contract in plain Python, for tests and for reading."""

from hasty.store.memory.jobs import MemoryJobStore
from hasty.store.memory.ledger import Attempt, MemoryLedger, Page

__all__ = ["Attempt", "MemoryJobStore", "MemoryLedger", "Page"]
