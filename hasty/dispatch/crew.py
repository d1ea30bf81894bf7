"""The workers of a pool: who there should be, who is there, and who is to leave.

A worker leaves when it is not wanted any more, when a handler that was stopped goes on in it, or
when it was started under an older plan: those one after the other. One that leaves gets no jobs;
once it has none, it is dismissed. Where its name is wanted, another then takes that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hasty.dispatch.events import Attended


@dataclass(slots=True)
class Member:
    """A worker that answered."""

    boot: int
    slots: int
    generation: int
    unfit: bool
    #: A set that keeps its order, so that a schedule can be replayed.
    jobs: dict[str, None] = field(default_factory=dict)


class Absence(NamedTuple):
    """Why a worker that may be there is no member."""

    #: The plan under which it was started, as far as is known.
    under: int
    #: It was given every chance to answer, and what it had was given to others.
    judged: bool = False


class Crew:
    """Members by name. Nothing is decided here about jobs."""

    def __init__(self, wanted: Iterable[str], others: Iterable[str], generation: int) -> None:
        """`others` may still be there, with jobs, though they are not wanted any more."""
        self._wanted = dict.fromkeys(wanted)
        self._generation = generation
        self._members: dict[str, Member] = {}
        #: Who was neither heard nor judged yet.
        self._awaited = {*self._wanted, *others}
        #: The boot of each that was dismissed: what it still says is old.
        self._gone: dict[str, int] = {}
        #: Who is being dismissed.
        self._dismissing: set[str] = set()
        #: Who may be there, and has not answered or was judged.
        self._absent = {name: Absence(generation) for name in (*self._wanted, *others)}
        #: Who leaves because a newer plan came: until another has taken its name.
        self._rolling: str | None = None

    # What there is ---------------------------------------------------------------------------

    @property
    def wanted(self) -> Iterable[str]:
        """Who there should be."""
        return self._wanted

    @property
    def complete(self) -> bool:
        """Whether everybody that may have jobs was heard or judged."""
        return not self._awaited

    @property
    def present(self) -> int:
        """Workers that take jobs."""
        return sum(not self.leaves(name) for name in self._members)

    @property
    def outdated(self) -> int:
        """Wanted workers that a newer plan is still to replace, or is replacing."""
        old = sum(name in self._members and self._is_outdated(name) for name in self._wanted)
        return old + (self._rolling is not None and self._rolling not in self._members)

    @property
    def remaining(self) -> tuple[str, ...]:
        """Those that are not wanted, and may still be there."""
        known = dict.fromkeys((*self._members, *self._absent, *sorted(self._dismissing)))
        return tuple(name for name in known if name not in self._wanted)

    def __getitem__(self, name: str) -> Member:
        """Return a worker that answered."""
        return self._members[name]

    def get(self, name: str | None) -> Member | None:
        """Return a worker if it answered."""
        return self._members.get(name) if name is not None else None

    def free(self) -> Iterator[tuple[str, int]]:
        """Yield who takes jobs, and how many more."""
        for name, member in self._members.items():
            room = 0 if self.leaves(name) else member.slots - len(member.jobs)
            if room > 0:
                yield name, room

    def leaves(self, name: str) -> bool:
        """Whether a member gets no new jobs."""
        if name in self._dismissing or name not in self._wanted or name == self._rolling:
            return True
        return self._members[name].unfit

    def _is_outdated(self, name: str) -> bool:
        return self._members[name].generation < self._generation

    # What happens to it ----------------------------------------------------------------------

    def attend(self, said: Attended) -> Member | None:
        """Take note of an answer; return the member if it is a process that was not met yet."""
        # Whoever bears the name of one that is being ended may be ended with it.
        if said.worker in self._dismissing or said.boot <= self._gone.get(said.worker, 0):
            return None
        self._awaited.discard(said.worker)
        self._absent.pop(said.worker, None)
        member = self._members.get(said.worker)
        if member is not None and member.boot == said.boot:
            member.unfit = said.unfit
            return None
        jobs = member.jobs if member is not None else {}
        member = Member(said.boot, said.slots, said.generation, said.unfit, jobs)
        self._members[said.worker] = member
        if said.worker == self._rolling and not self._is_outdated(said.worker):
            self._rolling = None
        return member

    def lose(self, name: str) -> Member | None:
        """Forget a worker that was judged; return it if it had answered."""
        self._awaited.discard(name)
        member = self._members.pop(name, None)
        if member is not None and name == self._rolling:
            # One that does not come back keeps its turn: the next would not come back either.
            self._rolling = None
        known = self._absent.get(name, Absence(self._generation))
        under = member.generation if member is not None else known.under
        self._absent[name] = Absence(under, judged=True)
        return member

    def plan(self, wanted: Iterable[str], generation: int) -> None:
        """Want others from now on, or the same under a newer plan."""
        self._wanted = dict.fromkeys(wanted)
        # Who is not wanted any more is not waited for.
        if generation > self._generation or self._rolling not in self._wanted:
            self._rolling = None
        self._generation = max(generation, self._generation)
        for name in self._wanted:
            if name not in self._members:
                self._absent.setdefault(name, Absence(self._generation))

    def to_dismiss(self) -> list[str]:
        """Return who can be dismissed now; each is named once until it is gone."""
        if not self.complete:
            return []
        self._roll()
        idle = [name for name, member in self._members.items() if self.leaves(name) and not member.jobs]
        silent = [name for name, absence in self._absent.items() if self._is_given_up(name, absence)]
        found = [name for name in (*idle, *silent) if name not in self._dismissing]
        self._dismissing.update(found)
        return found

    def _is_given_up(self, name: str, absence: Absence) -> bool:
        """Whether one that does not answer is to go: it has no jobs, for it was judged.

        Where no node had room for it, there may be under a newer plan.
        """
        return absence.judged and (name not in self._wanted or absence.under < self._generation)

    def _roll(self) -> None:
        """Choose who leaves next for a newer plan."""
        if self._rolling is None:
            old = (name for name in self._wanted if name in self._members and self._is_outdated(name))
            self._rolling = next(old, None)

    def dismissed(self, name: str) -> None:
        """Note that a worker was ended."""
        self._dismissing.discard(name)
        self._absent.pop(name, None)
        member = self._members.pop(name, None)
        if member is not None:
            self._gone[name] = member.boot
        if name in self._wanted:
            self._absent[name] = Absence(self._generation)
