"""Options that several commands have."""

from typing import Annotated, Literal

import typer

OnConflict = Literal["reject", "attach", "replace", "after"]

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="Id of a job.", show_default=False)]

JobIds = Annotated[list[str], typer.Argument(metavar="JOB_ID", help="Ids of jobs.", show_default=False)]

ObjectId = Annotated[
    str, typer.Argument(metavar="OBJECT_ID", help="What the work is about.", show_default=False)
]

HandlerName = Annotated[str, typer.Option("--handler", help="Name of a registered handler.")]

Payload = Annotated[
    str | None,
    typer.Option(
        "--payload",
        metavar="JSON|@FILE|-",
        help="What the handler is given: JSON, a file of it, or standard input.",
        show_default=False,
    ),
]

Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        help="Longest an attempt may run, as in 90 or 5m. Default: as the handler says.",
        show_default=False,
    ),
]

Priority = Annotated[
    int, typer.Option("--priority", min=-100, max=100, help="Lower numbers go first: -100 to 100.")
]

Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="To find it by; may be repeated.", show_default=False),
]

Conflict = Annotated[
    OnConflict,
    typer.Option(
        "--on-conflict",
        help="Where the object's last job stands in the way: refuse (reject), answer with that job (attach), "
        "cancel it and start (replace), or start when it has ended and its window is open (after).",
    ),
]

Webhook = Annotated[
    str | None,
    typer.Option("--webhook", metavar="URL", help="Where its end is to be told.", show_default=False),
]

RunAt = Annotated[
    str | None,
    typer.Option(
        "--run-at",
        metavar="TIME",
        help="Not to start before, as in 2026-01-02T15:04:05Z.",
        show_default=False,
    ),
]

Delay = Annotated[
    str | None,
    typer.Option(
        "--delay", metavar="DURATION", help="The same, from now on, as in 90 or 5m.", show_default=False
    ),
]

IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="With the same key again, the first answer comes again, and no other job.",
        show_default=False,
    ),
]

OfHandler = Annotated[
    str | None, typer.Option("--handler", help="Only those of this handler.", show_default=False)
]

OfObject = Annotated[
    str | None, typer.Option("--object", help="Only those of this object.", show_default=False)
]

WithLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME=VALUE",
        help="Only those with this label; may be repeated.",
        show_default=False,
    ),
]

Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME|DURATION",
        help="Only those accepted since, as in 2026-01-02T15:04:05Z or 2h.",
        show_default=False,
    ),
]

Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended; the exit code says how it did.")]

Within = Annotated[
    str | None,
    typer.Option(
        "--within",
        metavar="DURATION",
        help="Wait no longer than this; exit code 8 where it was not enough. Default: for ever.",
        show_default=False,
    ),
]
