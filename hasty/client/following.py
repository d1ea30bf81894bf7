"""Following events over any number of connections: each event once, and none left out."""

import dataclasses
from collections.abc import Generator, Iterator
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import ValidationError

from hasty.client.calls import JobId, events, get_job
from hasty.client.models import Event
from hasty.client.patience import Limits, Patience, ask
from hasty.client.problems import Failure, failure
from hasty.client.sse import EventParser, Message
from hasty.client.steps import Answer, Call, Item, Now, Open, Read, Series, Step
from hasty.errors import InvalidRequest, NotHasty

_MEDIA_TYPE = "text/event-stream"

#: hasty says something at least every ten seconds. After so many without a word, beside what any answer
#: may take, the connection is taken for dead.
_SILENCE_S = 25.0

#: Numbers of more digits are no numbers of events.
_DIGITS = 20


class Place:
    """Where a client stands in the stream. Numbers of events grow; what is not a number is only compared."""

    def __init__(self, after: str | None) -> None:
        """Stand behind this event; None: nowhere yet."""
        self.after = after
        self._gap: str | None = None

    def pass_by(self, event: Event) -> bool:
        """Move on to an event; return False for one that is not new.

        A gap may lead back: to the first number of a log that was begun anew. It may also be where the
        stream stands already, and is known only where the last thing passed was that very gap.
        """
        if not event.id:
            return True
        if event.type == "gap":
            known, self._gap = event.id == self.after == self._gap, event.id
        else:
            known = not self._beyond(event.id)
        if not known:
            self.after = event.id
        return not known

    def move_to(self, event_id: str | None) -> None:
        """Take note of how far the stream has come, where nothing on the way was asked for."""
        if event_id and self._beyond(event_id):
            self.after = event_id

    def _beyond(self, event_id: str) -> bool:
        if self.after is None:
            return True
        if _is_number(self.after) and _is_number(event_id):
            return int(event_id) > int(self.after)
        return event_id != self.after


def follow(
    limits: Limits, job_id: JobId | None, after: str | None, object_id: str | None, handler: str | None
) -> Series[Event]:
    """Yield events, over one connection after the other, as long as there are answers.

    The stream of one job ends with the event that is its last. It also ends where hasty does not have
    that event any more, which only shows in that the job has ended, and in how the stream ends: with a
    gap, or twice without a word.
    """
    call, place = events(job_id, object_id, handler), Place(_checked(after))
    patience, ended = Patience(limits), False
    while True:
        answer: Answer = yield Open(_on(call, place, patience, (yield Now())))
        failed, connection = failure(answer), _Connection(place)
        if isinstance(answer, httpx.Response) and failed is None:
            failed = yield from connection.hear(answer, patience, until_final=job_id is not None)
        if failed is None:
            return
        if job_id is not None and connection.ended_without_a_word:
            known, ended = ended, (yield from ask(get_job(job_id), limits)).final
            if ended and (known or connection.ended_in_a_gap):
                return
        yield from patience.bear(failed)


class _Connection:
    """One answer of the stream."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._parser = EventParser()
        self._heard: Event | None = None
        self._ended = False

    @property
    def ended_in_a_gap(self) -> bool:
        return self._ended and self._heard is not None and self._heard.type == "gap"

    @property
    def ended_without_a_word(self) -> bool:
        """Whether it ended as it should, and said nothing of the job, in its end at least."""
        return self.ended_in_a_gap or (self._ended and self._heard is None)

    def hear(
        self, response: httpx.Response, patience: Patience, *, until_final: bool
    ) -> Generator[Step | Item[Event], Any, Failure | None]:
        """Yield what is new; return why there is no more. None: there will be no more."""
        if response.status_code == HTTPStatus.NO_CONTENT:
            return None
        if not response.headers.get("Content-Type", "").startswith(_MEDIA_TYPE):
            raise NotHasty(f"{response.request.url}: the answer is no stream of events")
        while True:
            piece: bytes | httpx.RequestError = yield Read()
            if isinstance(piece, httpx.RequestError):
                return self._broken(piece)
            if not piece:
                self._ended = True
                gone = httpx.RemoteProtocolError("the stream of events ended", request=response.request)
                return self._broken(gone)
            patience.relax()
            for event in self._new(piece):
                yield Item(event)
                if until_final and event.final:
                    return None

    def _broken(self, error: httpx.RequestError) -> Failure | None:
        failed = failure(error)
        return failed and failed._replace(wait_s=self._parser.retry_s)

    def _new(self, piece: bytes) -> Iterator[Event]:
        for message in self._parser.feed(piece):
            event = _read(message, self._parser.last_id)
            new = self._place.pass_by(event)
            # A gap that is told again still says how the stream ends.
            if new or event.type == "gap":
                self._heard = event
            if new:
                yield event
        self._place.move_to(self._parser.last_id)


def _checked(after: str | None) -> str | None:
    if after is not None and not (after.isascii() and after.isprintable()):
        raise InvalidRequest(complaints=(("last_event_id", "must be the id of an event"),))
    return after or None


def _on(call: Call, place: Place, patience: Patience, now_s: float) -> Call:
    """Return the call that goes on from a place."""
    headers = {"Accept": _MEDIA_TYPE, "Accept-Encoding": "identity", "Cache-Control": "no-store"}
    if place.after is not None:
        headers["Last-Event-ID"] = place.after
    return dataclasses.replace(patience.fitted(call, now_s), headers=headers, held_s=_SILENCE_S)


def _read(message: Message, last_id: str | None) -> Event:
    """Return the event that a message is. Raises NotHasty."""
    try:
        event = Event.model_validate_json(message.data)
    except ValidationError:
        raise NotHasty(f"a message of type {message.type!r} is no event") from None
    return event if event.id else event.model_copy(update={"id": last_id or ""})


def _is_number(event_id: str) -> bool:
    return event_id.isascii() and event_id.isdigit() and len(event_id) <= _DIGITS
