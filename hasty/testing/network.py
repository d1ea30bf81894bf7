"""Messages between simulated processes: late, in another order, lost, repeated, or never answered."""

import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from hasty.errors import Unreachable
from hasty.messages import Process as Identity
from hasty.testing.journal import Journal
from hasty.testing.loop import VirtualLoop
from hasty.testing.process import Process

if TYPE_CHECKING:
    import asyncio
    import random

#: What happens between the processes belongs to none of them.
OUTSIDE = contextvars.Context()

#: A call whose callee died is made again to its successor within this time.
_REPLAYED_WITHIN_S = 2.0


@dataclass
class Weather:
    """What may go wrong with a message, each with its chance. As it is made here: nothing."""

    #: One way takes up to so many seconds: enough for messages to overtake each other.
    latency_s: float = 0.01
    #: A message takes up to `slow_s` instead.
    slow: float = 0.0
    slow_s: float = 1.0
    #: The request does not arrive.
    request_lost: float = 0.0
    #: What was asked is done, but the answer does not arrive.
    reply_lost: float = 0.0
    #: Whoever lost a message hears nothing at all, and no error.
    silence: float = 0.5
    #: The request arrives again, up to `repeated_within_s` later: after its callee's death, perhaps.
    repeated: float = 0.0
    repeated_within_s: float = 30.0
    #: A call whose callee dies is made again to the next that bears the name, as Ray does.
    replayed: float = 1.0
    #: No store answers.
    store_away: bool = False
    #: A store refuses an operation.
    store_refuses: float = 0.0
    #: A store carries an operation out, and the answer does not arrive.
    store_silent: float = 0.0
    #: A store carries an operation out up to `store_late_s` after its caller was told it failed.
    store_late: float = 0.0
    store_late_s: float = 3.0


@dataclass(eq=False)
class Place:
    """Where an actor lives: one incarnation of it, in a process of its own."""

    name: str
    process: Process
    #: What names this incarnation to those who would kill it.
    identity: Identity
    actor: Any = None
    #: The deployment under which a worker was started.
    generation: int = 1
    #: A worker's flight recorder.
    record: bytearray = field(default_factory=bytearray)
    #: Cut off: nothing gets in or out.
    cut: bool = False
    #: Calls that are being carried out here.
    calls: "list[Call]" = field(default_factory=list)

    async def identify(self) -> Identity:
        """Say which process this is. The shell of an actor answers that, not the actor."""
        return self.identity

    def carry_out(self, method: str, args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        """Return the work of a call."""
        owner = self if method == "identify" else self.actor
        work: Coroutine[Any, Any, Any] = getattr(owner, method)(*args)
        return work

    def __repr__(self) -> str:
        return repr(self.process)


#: Finds the callee when a request arrives: it may have moved since it was sent.
Find = Callable[[], Place | None]


class Network:
    """Carries messages in the present weather. All chance is of one source, so that a seed replays it."""

    def __init__(self, loop: VirtualLoop, chance: "random.Random", journal: Journal) -> None:
        """Carry everything at first, within the usual latency."""
        self.weather = Weather()
        self.loop = loop
        self.chance = chance
        self.journal = journal

    def happens(self, likelihood: float) -> bool:
        """Draw whether something happens."""
        return likelihood > 0 and self.chance.random() < likelihood

    def later(self, act: Callable[..., None], *about: Any, within_s: float | None = None) -> None:
        """Do something one way later."""
        weather = self.weather
        longest_s = within_s or (weather.slow_s if self.happens(weather.slow) else weather.latency_s)
        self.loop.call_later(self.chance.random() * longest_s, act, *about, context=OUTSIDE)


class Link:
    """How one incarnation calls a named actor. Raises Unreachable where Ray would."""

    def __init__(self, network: Network, caller: Place, callee: str, find: Find) -> None:
        """Look the callee up with `find`, at each call."""
        self._network, self._caller, self._callee, self._find = network, caller, callee, find

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Call this method of the actor."""

        async def call(*args: Any) -> Any:
            message = Message(f"{self._caller} → {self._callee}.{method}", method, args)
            return await Call(self._network, self._caller, self._find, message).reply

        return call


class Message(NamedTuple):
    """What is asked of a callee."""

    #: From whom to whom, for the journal.
    route: str
    method: str
    args: tuple[Any, ...]


class Call:
    """One call under way. Whoever made it waits for `reply`."""

    def __init__(self, network: Network, caller: Place, find: Find, message: Message) -> None:
        """Set out at once."""
        self._network, self._caller, self._find, self._message = network, caller, find, message
        self.reply: asyncio.Future[Any] = network.loop.create_future()
        self._set_out()

    def _set_out(self) -> None:
        network, weather = self._network, self._network.weather
        if self._caller.cut or network.happens(weather.request_lost):
            self._lose("request lost")
        else:
            network.later(self._arrive)
        if network.happens(weather.repeated):
            network.later(self._arrive, within_s=weather.repeated_within_s)

    def _arrive(self) -> None:
        place = self._find()
        if place is None or place.cut:
            self._lose("nobody there")
            return
        self._note("at", place)
        place.calls.append(self)
        work = place.carry_out(self._message.method, self._message.args)
        task = self._network.loop.create_task(work, context=place.process.context.copy())
        task.add_done_callback(lambda task: self._answered(place, task), context=OUTSIDE)

    def _answered(self, place: Place, task: "asyncio.Task[Any]") -> None:
        """The reply leaves. Of two answers to a repeated request the first to arrive counts."""
        if self in place.calls:
            place.calls.remove(self)
        if task.cancelled() or self.reply.done():
            return
        network = self._network
        if place.cut or network.happens(network.weather.reply_lost):
            self._lose("reply lost")
        else:
            network.later(self._deliver, task.exception(), task.exception() or task.result())

    def orphan(self, *, for_good: bool = False) -> None:
        """The callee died over this call; where another process takes its place, it may come again."""
        network = self._network
        if not for_good and network.happens(network.weather.replayed):
            network.later(self._arrive, within_s=_REPLAYED_WITHIN_S)
        else:
            self._lose("callee died")

    def _lose(self, why: str) -> None:
        network = self._network
        self._note(why)
        if not network.happens(network.weather.silence):
            network.later(self._deliver, Unreachable(why), None)

    def _deliver(self, error: BaseException | None, answer: Any) -> None:
        if self.reply.done():
            return
        if error is not None:
            self.reply.set_exception(error)
        else:
            self._network.journal.note(self._message.route, "answered", answer)
            self.reply.set_result(answer)

    def _note(self, *what: Any) -> None:
        self._network.journal.note(self._message.route, self._message.args, *what)
