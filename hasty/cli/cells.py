"""Cells and tables: how times, durations, statuses and errors look to people."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from hasty.cli.voice import printable

if TYPE_CHECKING:
    from hasty.client import Progress

_STYLES = {
    "running": "cyan",
    "finished": "green",
    "failed": "red",
    "lost": "red",
    "cancelled": "yellow",
    "retried": "yellow",
}

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def status_text(status: str) -> Text:
    """Return a status in its colour."""
    return Text(printable(status), style=_STYLES.get(status, ""))


def moment(at: datetime | None) -> str:
    """Return a time, in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at is not None else ""


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return ""
    if 0 < round(seconds, 3) < 1:
        return f"{seconds * 1_000:.0f} ms"
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, name, below, rest in ((_DAY_S, "d", _HOUR_S, "h"), (_HOUR_S, "h", _MINUTE_S, "min")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {rest}"
    return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"


def took(started_at: datetime | None, ended_at: datetime | None) -> str:
    """Return how long something took that is over."""
    return span((ended_at - started_at) / timedelta(seconds=1)) if started_at and ended_at else ""


def told(error: dict[str, Any] | None) -> str:
    """Return an error of a job or an attempt in a line."""
    return f"{error.get('type', 'Error')}: {error.get('message', '')}" if error else ""


def how_far(progress: "Progress | None") -> str:
    """Return what a handler says of how far it has come."""
    if progress is None:
        return ""
    share = f"{progress.fraction:.0%}" if progress.fraction is not None else ""
    return " ".join(part for part in (share, progress.message or "") if part)


def labels_text(labels: dict[str, str]) -> str:
    """Return labels as they are typed."""
    return " ".join(f"{name}={value}" for name, value in labels.items())


def json_text(value: Any) -> str | None:
    """Return JSON in a line; nothing for null."""
    return None if value is None else json.dumps(value, ensure_ascii=False)


def indented(value: Any) -> str:
    """Return JSON for people. It is ASCII: no character of it does anything to a terminal."""
    return json.dumps(value, indent=2)


class Rows:
    """A table that is made row by row."""

    def __init__(self, *columns: str) -> None:
        """Name the columns. The first is never folded, and nothing is cut as long as there is room for it."""
        self.table = Table(box=None, pad_edge=False, header_style="bold")
        for number, name in enumerate(columns):
            self.table.add_column(name, no_wrap=number == 0, overflow="fold")

    def add(self, *cells: object) -> None:
        """Add a row; what is not a text of rich is shown as it is, and harmless."""
        self.table.add_row(*(cell if isinstance(cell, Text) else Text(_plain(cell)) for cell in cells))


def _plain(cell: object) -> str:
    return "" if cell is None else printable(cell)


def details(*facts: tuple[str, object]) -> Table:
    """Return facts one below the other; those that are not known are left out."""
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        if value not in (None, "", {}):
            grid.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(_plain(value)))
    return grid
