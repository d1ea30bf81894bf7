"""What went wrong, told: a line and perhaps what to do for people, a document for programs."""

import sys
from typing import Any

from hasty.cli.exits import Exit, of_error
from hasty.cli.voice import in_one_line, printable
from hasty.errors import Forbidden, HastyError, JobRefused, Unauthorized, Unreachable


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
        "retry_after": getattr(error, "retry_after", None),
        "handlers": getattr(error, "known", None),
        "errors": [
            {"field": field, "message": message} for field, message in getattr(error, "complaints", ())
        ],
    }
    known = {name: fact for name, fact in facts.items() if fact}
    return {"code": error.code, "detail": str(error), **known, "exit_code": int(code)}
