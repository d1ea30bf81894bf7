"""The stores on MongoDB, and the only package that imports pymongo."""

from hasty.store.mongo.jobs import MongoJobStore
from hasty.store.mongo.ledger import MongoLedger

__all__ = ["MongoJobStore", "MongoLedger"]
