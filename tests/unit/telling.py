"""Jobs that end, and a receiver that is told of it, on virtual time."""

import asyncio
import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

from hasty.actors.courier import Courier
from hasty.dispatch import Settle
from hasty.job import Outcome, Status
from hasty.outgoing.sender import Reply
from hasty.store.memory import MemoryJobStore, MemoryOutbox
from hasty.testing import VirtualClock
from hasty.webhooks import new_secret, verify
from tests.unit.examples import a_job

SECRET = new_secret()
TIMEOUT_S = 10.0
OK = Reply(200)


class Receiver:
    """Answers as it is told to, after a while. What it was sent must verify."""

    def __init__(self, takes_s=0.05):
        self.takes_s = takes_s
        #: When each call arrived, and its message id.
        self.calls = []
        self.bodies = {}
        self.answer = lambda _now, _url: OK
        self.at_once, self.most_at_once = Counter(), Counter()

    def take(self, url, headers, body, now):
        sent_at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        message = verify(SECRET, headers, body, now=sent_at)
        self.calls.append((now, message.id.removeprefix("msg_")))
        assert self.bodies.setdefault(message.id, body) == body, "it is the same each time"
        return self.answer(now, url)

    async def post(self, url, headers, body):
        """What a Courier is given where there is no network in between."""
        loop = asyncio.get_running_loop()
        for who in (url, "all"):
            self.at_once[who] += 1
            self.most_at_once[who] = max(self.most_at_once[who], self.at_once[who])
        try:
            reply = self.take(url, headers, body, loop.time())
            await asyncio.sleep(self.takes_s if isinstance(self.takes_s, float) else self.takes_s(url))
        finally:
            for who in (url, "all"):
                self.at_once[who] -= 1
        return reply

    @property
    def heard(self):
        """How often each job's end arrived."""
        return Counter(job_id for _, job_id in self.calls)

    def times(self, job_id="job-0"):
        return [when for when, named in self.calls if named == job_id]


class World:
    """Jobs, their outbox, and a receiver."""

    def __init__(self, **receiver):
        self.loop = asyncio.get_running_loop()
        self.clock = VirtualClock(self.loop)
        self.jobs = MemoryJobStore(self.clock)
        self.outbox = MemoryOutbox(self.jobs)
        self.receiver = Receiver(**receiver)
        self.numbers = itertools.count()

    def courier(self, **parts):
        given = {"outbox": self.outbox, "send": self.receiver.post, "clock": self.clock}
        more = {"secret": SECRET, "timeout_s": TIMEOUT_S, "chance": lambda: 0.0}
        return Courier(**(given | more | parts))

    def start(self, **parts):
        return asyncio.ensure_future(self.courier(**parts).serve())

    async def end(self, count=1, url="http://hooks.example/", outcome=None, **about):
        """Have jobs end now; return their ids."""
        names = [f"job-{next(self.numbers)}" for _ in range(count)]
        now = self.clock.now()
        times = {"accepted_at": now, "opens_at": now, "expires_at": now + timedelta(days=9)}
        await self.jobs.insert([a_job(name, object_id=name, webhook=url, **times, **about) for name in names])
        outcome = outcome or Outcome(Status.FINISHED, now, {"lines": 1}, None, 1, now, "w")
        await self.jobs.settle([Settle(name, outcome) for name in names], 1, now + timedelta(days=7))
        return names

    async def state(self, job_id="job-0"):
        return (await self.outbox.log(job_id)).state

    async def deliveries(self, job_id="job-0"):
        return (await self.outbox.log(job_id)).deliveries
