"""Real replica sets of real mongods, which tests freeze, cut off and bring back."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bson import Timestamp
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from hasty.local.mongod import find_mongod
from tests.running import free_port, until

SET = "outage"

PRIMARY, SECONDARY = 1, 2


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A short folder, in memory where there is room: what is tested is not the disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hasty-", dir=memory) as folder:
        yield Path(folder)


class Member:
    """One mongod of a set, with the server's own failpoints open to us."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self._options = options
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = folder
        folder.mkdir()
        self.start()
        self.client: MongoClient = MongoClient(
            self.address, directConnection=True, serverSelectionTimeoutMS=60_000, socketTimeoutMS=10_000
        )

    @property
    def uri(self) -> str:
        """For a set that has no other member."""
        return f"mongodb://{self.address}/?replicaSet={SET}"

    def start(self) -> None:
        command = [
            str(find_mongod(os.environ)),
            f"--dbpath={self.folder}",
            f"--logpath={self.folder / 'log'}",
            f"--port={self.port}",
            f"--replSet={SET}",
            "--bind_ip=127.0.0.1",
            "--nounixsocket",
            "--wiredTigerCacheSizeGB=0.25",
            "--oplogSize=64",
            "--wiredTigerEngineConfigString=log=(prealloc=false)",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            "--setParameter=enableTestCommands=1",
            "--quiet",
            *self._options,
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.client.close()
        self.kill()

    def set_failpoint(self, name: str, mode: str | dict, **data: object) -> int:
        """Return how often it was entered already."""
        command = {"configureFailPoint": name, "mode": mode} | ({"data": data} if data else {})
        return self.client.admin.command(command)["count"]

    def cut_off(self) -> None:
        """Let it hear nothing of its primary's writes; it still votes."""
        count = self.set_failpoint("stopReplProducer", "alwaysOn")
        self.client.admin.command(
            {"waitForFailPoint": "stopReplProducer", "timesEntered": count + 1, "maxTimeMS": 30_000}
        )

    def reconnect(self) -> None:
        self.set_failpoint("stopReplProducer", "off")

    def state(self) -> int:
        """As the server counts its states; 0 while there is no answer."""
        try:
            return self.client.admin.command("replSetGetStatus")["myState"]
        except PyMongoError:
            return 0

    def step_up(self) -> bool:
        """Ask the others to elect it: they do not elect one that has less than they have."""
        try:
            self.client.admin.command("replSetStepUp")
        except PyMongoError:
            return False
        return True

    def last_in_its_log(self) -> Timestamp:
        return self.client.local["oplog.rs"].find_one(sort=[("$natural", -1)])["ts"]

    def ids(self, namespace: str) -> set:
        """Of all documents that it has, whoever else has them."""
        database, _, collection = namespace.partition(".")
        return {found["_id"] for found in self.client[database][collection].find({}, {"_id": 1})}

    @property
    def is_primary(self) -> bool:
        try:
            return bool(self.client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False


class ReplicaSet:
    """Members of which none becomes primary but one that a test asks to: not because another was slow."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self.uri = f"mongodb://{','.join(m.address for m in self.members)}/?replicaSet={SET}"

    def initiate(self) -> None:
        """Make them a set. The first asks the others, so all must listen by then."""
        for member in self.members:
            member.client.admin.command("ping")
        config = {
            "_id": SET,
            "members": [{"_id": n, "host": m.address} for n, m in enumerate(self.members)],
            "settings": {
                "electionTimeoutMillis": 10_000,
                "heartbeatIntervalMillis": 250,
                # A new primary does not wait for what only the old one has: that is what is tested.
                "catchUpTimeoutMillis": 0,
            },
        }
        self.members[0].client.admin.command("replSetInitiate", config)
        until(self.members[0].step_up, "the first to be elected")
        until(self._is_whole, "a primary, and secondaries beside it")
        self.primary = until(lambda: next((m for m in self.members if m.is_primary), None), "a primary")

    def _is_whole(self) -> bool:
        return sorted(map(Member.state, self.members)) == [PRIMARY, *[SECONDARY] * (len(self.members) - 1)]


@contextmanager
def replica_set(size: int, *options: str) -> Iterator[ReplicaSet]:
    with memory_folder() as folder, ExitStack() as running:
        members = []
        for number in range(size):
            members.append(Member(folder / str(number), options))
            running.callback(members[-1].stop)
        servers = ReplicaSet(members)
        servers.initiate()
        yield servers
