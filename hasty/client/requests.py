"""What a client asks for, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, to_jsonable_python

from hasty.client.models import Json
from hasty.errors import InvalidRequest

#: The handler that is there without anybody registering it.
SLEEP = "sleep"

#: What is to happen where the object's last job stands in the way.
OnConflict = Literal["reject", "attach", "replace", "after"]


#: A time: aware, or as RFC 3339 has it.
Moment = datetime | str


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to be: for the object, with what the handler is given.

    hasty checks it when it arrives; a payload may be a pydantic model.
    """

    object_id: str
    payload: Any = None
    handler: str = field(default=SLEEP, kw_only=True)
    #: Longest an attempt may run, in seconds; by default as the handler says.
    timeout: float | None = field(default=None, kw_only=True)
    #: Lower numbers go first.
    priority: int = field(default=0, kw_only=True)
    #: Not to start before: a time, or so many seconds from when it arrives.
    run_at: Moment | None = field(default=None, kw_only=True)
    delay: float | None = field(default=None, kw_only=True)
    labels: Mapping[str, str] | None = field(default=None, kw_only=True)
    on_conflict: OnConflict = field(default="reject", kw_only=True)
    #: Where to tell how it ended: a URL, or what else the API takes.
    webhook: str | Mapping[str, Json] | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, given: "JobRequest | Mapping[str, Any]") -> "JobRequest":
        """Take one that is given by the names of its fields. Raises InvalidRequest."""
        if isinstance(given, JobRequest):
            return given
        if not isinstance(given, Mapping):
            raise InvalidRequest("A job is a JobRequest, or a mapping with the names of its fields.")
        unknown = sorted({*given} - {*cls.__dataclass_fields__})
        if unknown:
            raise InvalidRequest(complaints=tuple((str(name), "is no field of a job") for name in unknown))
        if "object_id" not in given:
            raise InvalidRequest(complaints=(("object_id", "is missing"),))
        return cls(**given)

    def body(self) -> dict[str, Json]:
        """Return what is sent; what is as it is by default is left out. Raises InvalidRequest."""
        webhook = {"url": self.webhook} if isinstance(self.webhook, str) else self.webhook
        said = {
            "payload": self.payload,
            "timeout": self.timeout,
            "priority": self.priority or None,
            "run_at": None if self.run_at is None else rfc3339("run_at", self.run_at),
            "delay": self.delay,
            "labels": self.labels or None,
            "on_conflict": None if self.on_conflict == "reject" else self.on_conflict,
            "webhook": webhook,
        }
        said = {name: value for name, value in said.items() if value is not None}
        return {"object_id": self.object_id, "handler": self.handler} | said


def rfc3339(name: str, moment: Moment) -> str:
    """Return a time as the API takes it. Raises InvalidRequest for one that has no time zone."""
    if isinstance(moment, str):
        return moment
    if moment.tzinfo is None:
        raise InvalidRequest(complaints=((name, "must say its time zone, as datetime.now(UTC) does"),))
    return moment.isoformat()


def as_json(body: Json) -> bytes:
    """Return a body as it is sent; field names are the models' aliases. Raises InvalidRequest."""
    try:
        plain = to_jsonable_python(body, by_alias=True)
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"This cannot be said in JSON: {error}.") from error
