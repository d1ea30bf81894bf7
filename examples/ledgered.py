"""A write to a database of your own that an attempt which comes back late cannot undo.

hasty starts a job again when its worker is lost. The worker may live, though, cut off or frozen,
and go on later: then an old attempt writes after a newer one. hasty itself takes no second outcome,
but it does not stand between a handler and another database. The fence does: it grows with every
attempt and every run of an object. Store it with what you write, and let the database, in the same
statement, refuse a smaller one. Asking first and writing then would leave a gap between the two.
"""

import os
import sqlite3
from contextlib import closing

from pydantic import BaseModel

import hasty

TABLE = "CREATE TABLE IF NOT EXISTS balances (customer TEXT PRIMARY KEY, cents INTEGER, fence INTEGER)"

# An equal fence is the same attempt, which may write as often as it likes.
WRITE = """
INSERT INTO balances (customer, cents, fence) VALUES (:customer, :cents, :fence)
ON CONFLICT (customer) DO UPDATE SET cents = excluded.cents, fence = excluded.fence
WHERE excluded.fence >= balances.fence
"""


class Bookings(BaseModel):
    """What was booked for a customer, who is the job's object."""

    cents: list[int]


class Balance(BaseModel):
    """What was written."""

    cents: int


class Overtaken(Exception):
    """A newer attempt has written already; nothing was changed."""


@hasty.handler(timeout=10)
def ledgered(job: hasty.JobContext, bookings: Bookings) -> Balance:
    """Write a customer's balance, unless a newer attempt has."""
    balance = sum(bookings.cents)
    row = {"customer": job.object_id, "cents": balance, "fence": job.fence}
    # `closing` gives the file back; the connection itself commits, or takes back what it began.
    with closing(sqlite3.connect(os.environ["BALANCES"])) as database, database:
        database.execute(TABLE)
        if database.execute(WRITE, row).rowcount == 0:
            raise Overtaken(f"attempt {job.attempt} comes after a newer one")
    return Balance(cents=balance)
