"""What went wrong, told: a line and perhaps what to do for people, a document for programs."""

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from hasty.cli.exits import Exit, of_error
from hasty.cli.voice import in_one_line, printable
from hasty.errors import Forbidden, HastyError, JobRefused, Unauthorized, Unreachable

#: What an error may say to programs beside what it is; see `saying`.
_MORE = "hasty_cli_more"


Error = TypeVar("Error", bound=HastyError)


def saying(error: Error, **facts: str) -> Error:
    """Let an error say more to programs: only who asked knows it. What it says itself stays."""
    vars(error)[_MORE] = facts
    return error


def tell_interrupt(job_ids: Iterable[str]) -> None:
    """Say to programs which jobs were left alone by a Ctrl-C."""
    for job_id in job_ids:
        told = {"code": "interrupted", "detail": "Ctrl-C; the job is left alone.", "job_id": job_id}
        line = in_one_line(told | {"exit_code": int(Exit.INTERRUPTED)})
        print(line, file=sys.stderr, flush=True)  # noqa: T201  the command line's voice


def tell_problem(error: HastyError, *, as_json: bool) -> Exit:
    """Say what went wrong, on standard error; return the exit code for it."""
    code = of_error(error)
    said = [in_one_line(document(error, code))] if as_json else lines(error)
    # Also where nobody reads standard output any more.
    print("\n".join(said), file=sys.stderr, flush=True)  # noqa: T201  the command line's voice
    return code


def lines(error: HastyError) -> list[str]:
    """Return what people are told."""
    advice = _advice(error)
    return [f"hasty: {printable(error)}", *([f"-> {printable(advice)}"] if advice else [])]


def _advice(error: HastyError) -> str | None:
    match error:
        case JobRefused():
            return (
                f"`hasty get {error.job_id}` shows it; --on-conflict attach takes it for an answer, "
                "after waits for its end and the window, replace cancels it"
            )
        case Unreachable():
            return (
                "`hasty up` starts one, --url or HASTY_URL names another, `hasty doctor` looks what is wrong"
            )
        case Unauthorized() | Forbidden():
            return "the key is taken from HASTY_API_KEY, or from the file of --api-key-file"
    return None


def document(error: HastyError, code: Exit) -> dict[str, Any]:
    """Return what is known of an error, as a problem document has it, and the exit code."""
    job = getattr(error, "job", None)
    facts = {
        "job_id": getattr(error, "job_id", None) or (job and job.id),
        "job_status": getattr(error, "job_status", None) or (job and job.status),
        "retry_after": getattr(error, "retry_after", None) or getattr(error, "retry_after_s", None),
        "handlers": getattr(error, "known", None),
        "errors": [
            {"field": field, "message": message} for field, message in getattr(error, "complaints", ())
        ],
    }
    known = vars(error).get(_MORE, {}) | {name: fact for name, fact in facts.items() if fact}
    return {"code": error.code, "detail": str(error), **known, "exit_code": int(code)}
