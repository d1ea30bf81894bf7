"""What a list of jobs is asked with, and how it is shown."""

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from hasty.api.cursors import CURSOR_LIMIT
from hasty.api.schemas import MOST_LABELS, JobView, ObjectId
from hasty.job import Labels, Status
from hasty.store.base import JobFilter

#: Jobs in a page.
_USUAL, _MOST = 50, 200

#: Longest name of a handler that is looked for, in characters.
_NAME_LIMIT = 128

#: Moments are of years that MongoDB and Python can tell.
_FIRST_YEAR, _LAST_YEAR = 1970, 2999

_LABEL = r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}=[\s\S]{0,256}"

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _is_written_as_in_rfc3339(given: Any) -> Any:
    if not _MOMENT.fullmatch(given):
        msg = "must be as in RFC 3339: 2026-01-02T15:04:05Z, or with an offset, whose + is written %2B"
        raise ValueError(msg)
    return given


def _is_a_whole_number(given: Any) -> Any:
    if not re.fullmatch(r"[0-9]{1,9}", given):
        msg = f"must be a whole number from 1 to {_MOST}"
        raise ValueError(msg)
    return given


Moment = Annotated[AwareDatetime, BeforeValidator(_is_written_as_in_rfc3339)]

_Status = Annotated[Status, WithJsonSchema({"type": "string", "enum": [str(status) for status in Status]})]

_Label = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$")]


class ListQuery(BaseModel):
    """The parameters of `GET /v1/jobs`."""

    model_config = ConfigDict(frozen=True)

    status: list[_Status] = Field(default_factory=list, description="Only jobs in one of these.")
    handler: Annotated[str, StringConstraints(min_length=1, max_length=_NAME_LIMIT)] | None = Field(
        None, description="Only jobs of this handler."
    )
    object_id: ObjectId | None = Field(None, description="Only jobs of this object, by their runs.")
    label: list[_Label] = Field(
        default_factory=list, description="Only jobs with all of these: `name=value` each."
    )
    accepted_after: Moment | None = Field(None, description="Only jobs accepted at this time or later.")
    accepted_before: Moment | None = Field(None, description="Only jobs accepted before this time.")
    limit: Annotated[int, BeforeValidator(_is_a_whole_number)] = Field(
        _USUAL, ge=1, le=_MOST, description="At most so many jobs; it may be fewer, though the list goes on."
    )
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=CURSOR_LIMIT)] | None = Field(
        None, description="The `next_cursor` of the page before, with the same filters."
    )

    @field_validator("accepted_after", "accepted_before")
    @classmethod
    def _is_near(cls, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            msg = f"must be of a year from {_FIRST_YEAR} to {_LAST_YEAR}"
            raise ValueError(msg)
        # Acceptances are whole milliseconds: after a fraction of one is from the next one on.
        whole = math.ceil(moment.microsecond / 1000) * 1000
        return moment.astimezone(UTC).replace(microsecond=0) + (datetime.resolution * whole)

    @field_validator("label")
    @classmethod
    def _may_be_all_true(cls, given: list[str]) -> list[str]:
        labels = dict(_split(text) for text in given)
        if len(labels) < len(set(given)):
            msg = "gives one name two values, and no job has both"
            raise ValueError(msg)
        if len(labels) > MOST_LABELS:
            msg = f"must be there {MOST_LABELS} times at most: no job has more"
            raise ValueError(msg)
        return given

    @property
    def filter(self) -> JobFilter:
        """Return what is wanted."""
        return JobFilter(
            frozenset(self.status),
            self.handler,
            self.object_id,
            self._labels,
            self.accepted_after,
            self.accepted_before,
        )

    @property
    def _labels(self) -> Labels:
        return tuple(sorted({_split(text) for text in self.label}))


def _split(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


class JobsView(BaseModel):
    """A page of jobs, newest first."""

    model_config = ConfigDict(frozen=True)

    jobs: list[JobView]
    next_cursor: str | None = Field(description="For the next page; null: this is the last one.")
