"""Answers that are none: which error of `hasty.errors` an answer stands for."""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, field_validator

from hasty import errors
from hasty.client.models import Job, Json
from hasty.client.steps import Answer
from hasty.errors import FixTheRequest, HastyError, TryAgainLater

#: After these the same request may succeed, and none of them says that it did not already. 500 is
#: what HAProxy makes of what it has to say itself.
_WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504})

#: Of an answer that is no problem document, so much is told.
_TOLD = 200

#: A wait of more digits is not worth reading.
_DIGITS = 9


class Problem(BaseModel):
    """A problem document. A field that is not what it should be is taken for missing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str | None = None
    detail: str | None = None
    errors: list[dict[str, str]] | None = None
    handlers: tuple[str, ...] | None = None
    job_id: str | None = None
    job_status: str | None = None
    job: Job | None = None
    scope: str | None = None
    retry_after: float | None = None

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_nothing(cls, given: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(given)
        except ValidationError:
            return None


#: Every error that says what to do about a request or an answer, by the code of its problem.
_BY_CODE: Mapping[str, type[HastyError]] = {
    error.code: error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, FixTheRequest | TryAgainLater)
}

#: And by the status, where the code is none that is known here.
_BY_STATUS: Mapping[int, type[HastyError]] = {
    HTTPStatus.UNAUTHORIZED: errors.Unauthorized,
    HTTPStatus.FORBIDDEN: errors.Forbidden,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.BodyTooLarge,
    HTTPStatus.TOO_MANY_REQUESTS: errors.RateLimited,
}


class Failure(NamedTuple):
    """Why an answer is not what was asked for."""

    error: HastyError
    #: Whether the same request may succeed a bit later.
    passes: bool = False
    #: When, in seconds, at the earliest, as far as that was told.
    wait_s: float = 0.0


def failure(answer: Answer) -> Failure | None:
    """Return what is wrong with an answer; None for one that is what was asked for."""
    if isinstance(answer, httpx.RequestError):
        why = str(answer) or type(answer).__name__
        told = f"no answer from {answer.request.url.netloc.decode()}: {why}"
        return Failure(errors.Unreachable(told), passes=True)
    if answer.is_success:
        return None
    document, wait_s = _document(answer), _told_wait_s(answer)
    error = _not_ours(answer) if document is None else refusal(answer.status_code, document)
    passes = answer.status_code in _WORTH_ANOTHER_TRY
    return Failure(_coming_back(error, wait_s), passes, wait_s or 0.0)


def refusal(status: int, document: Json) -> HastyError:
    """Return the error that a problem document stands for."""
    problem = Problem.model_validate(document if isinstance(document, dict) else {})
    code, detail = problem.code, problem.detail
    match code:
        case "invalid_request":
            complaints = tuple(
                (each.get("field", ""), each.get("message", "")) for each in problem.errors or ()
            )
            return errors.InvalidRequest(detail, complaints)
        case "unknown_handler":
            return errors.UnknownHandler(detail, problem.handlers or ())
        case "already_ended":
            return errors.AlreadyEnded(
                detail, job_id=problem.job_id or "", job_status=problem.job_status or ""
            )
        case "rerun_window" | "unfinished":
            return errors.JobRefused(
                code=code, job_id=problem.job_id or "", retry_after=problem.retry_after or 0, job=problem.job
            )
        case "forbidden":
            return errors.Forbidden(detail, scope=problem.scope or "")
    error = _BY_CODE.get(code or "", _of_status(status))(detail)
    error.code = code or error.code
    return _coming_back(error, problem.retry_after)


def _coming_back(error: HastyError, wait_s: float | None) -> HastyError:
    """Let an error say when to come back, where that was told."""
    if wait_s is not None and isinstance(error, TryAgainLater):
        error.retry_after_s = math.ceil(wait_s)
    return error


def _told_wait_s(response: httpx.Response) -> float | None:
    """Return what `Retry-After` says, in seconds; None where it says nothing that can be read."""
    said = response.headers.get("Retry-After", "")
    if said.isascii() and said.isdigit():
        return float(said[:_DIGITS])
    try:
        # A date, of the clock by which the answer was dated.
        until = parsedate_to_datetime(said) - parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, until.total_seconds())


def _of_status(status: int) -> type[HastyError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return TryAgainLater if status >= HTTPStatus.INTERNAL_SERVER_ERROR else FixTheRequest


def _document(response: httpx.Response) -> dict[str, Json] | None:
    """Return the problem document that an answer is; None where it is something else."""
    try:
        found = response.json()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("code"), str) else None


def _not_ours(response: httpx.Response) -> HastyError:
    """Return the error for an answer that is no problem document: of a proxy, a health page, a stranger."""
    status = response.status_code
    told = (
        f"{response.request.method} {response.request.url.copy_with(query=None)} was answered with {status}"
    )
    if response.is_redirect:
        return errors.NotHasty(f"{told}: it is now at {response.headers['Location']}")
    said = _said(response)
    told = f"{told}: {said}" if said else told
    kind = errors.NotHasty if status == HTTPStatus.NOT_FOUND else _of_status(status)
    return kind(told)


def _said(response: httpx.Response) -> str:
    """Return the beginning of what an answer says for people."""
    try:
        message = response.json()["message"]
    except (ValueError, RecursionError, LookupError, TypeError):
        message = response.text
    return " ".join(str(message).split())[:_TOLD]
