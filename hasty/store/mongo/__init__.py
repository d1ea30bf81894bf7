"""The stores on MongoDB, and the only package that imports pymongo."""

from hasty.store.mongo.attempts import MongoAttempts
from hasty.store.mongo.events import MongoEventStore
from hasty.store.mongo.jobs import MongoJobStore
from hasty.store.mongo.keys import MongoKeys
from hasty.store.mongo.ledger import MongoLedger
from hasty.store.mongo.outbox import MongoOutbox
from hasty.store.mongo.reading import MongoJobReader
from hasty.store.mongo.schedules import MongoScheduleStore

__all__ = [
    "MongoAttempts",
    "MongoEventStore",
    "MongoJobReader",
    "MongoJobStore",
    "MongoKeys",
    "MongoLedger",
    "MongoOutbox",
    "MongoScheduleStore",
]
