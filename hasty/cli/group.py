"""What all commands have in common: errors become one line and an exit code."""

from typing import Any

import typer
from typer.core import TyperGroup

from hasty.cli.exits import Exit
from hasty.cli.problems import tell_problem
from hasty.cli.voice import fall_silent
from hasty.errors import HastyError

#: Where a command's `--json` is written down for whoever tells of its errors.
AS_JSON = "hasty.cli.as_json"


class Commands(TyperGroup):
    """The commands. Nothing they raise is seen as a traceback, but for what nobody foresaw."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except HastyError as error:
            code = tell_problem(error, as_json=ctx.meta.get(AS_JSON, False))
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except BrokenPipeError:
            fall_silent()
            code = Exit.BROKEN_PIPE
        raise typer.Exit(code)


def note_as_json(ctx: typer.Context, value: bool) -> bool:
    """Write down whether errors, too, are to be JSON: before anything else is read."""
    ctx.meta[AS_JSON] = value
    return value
