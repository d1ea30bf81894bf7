"""What `hasty doctor` looks at in a hasty that runs: can it be reached, is it ready, may we ask it?"""

from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from hasty.cli.findings import Finding, Level, fail, ok, warn
from hasty.clock import Clock

#: Of the surface that this command line speaks; `/openapi.json` says it.
_SURFACE = "1"

#: A date has whole seconds, and the answer takes a while.
_MOST_SKEW = timedelta(seconds=2)

#: What to do, by the beginning of what `/readyz` says.
_ADVICE = {
    "mongodb": "look at MongoDB: has it a primary, is its disk full?",
    "registry: MongoDB": "look at MongoDB: has it a primary, is its disk full?",
    "registry: this machine's clock": "look at the time service of the nodes",
    "registry: stopping": "it is being stopped: wait, then `hasty up` again",
    "dispatcher: waits for its office": "look for a second hasty on the same databases, and at MongoDB",
    "dispatcher: waits for its workers": "look at Ray's dashboard: have the workers a node to run on?",
}
_ELSE = "look at the logs and at Ray's dashboard; see docs/operations.md, `What a 503 means`"


def look_at_running(http: httpx.Client, clock: Clock, *, wanted: bool) -> list[Finding]:
    """Say how the hasty is that `http` reaches; `wanted`: whether somebody said that there is one."""
    alive = _ask(http, "/healthz")
    first = reached(http, alive, wanted=wanted)
    if isinstance(alive, str) or first.level is not Level.OK:
        return [first]
    return [
        first,
        ready(_ask(http, "/readyz")),
        surface(_ask(http, "/openapi.json")),
        time_of(alive, clock),
        *access(_ask(http, "/v1/pools"), keyed="Authorization" in http.headers),
    ]


#: An answer, or why there is none.
_Answer = httpx.Response | str


def _ask(http: httpx.Client, path: str) -> _Answer:
    try:
        return http.get(path)
    except httpx.RequestError as error:
        return str(error) or type(error).__name__


def _said(answer: _Answer) -> Any:
    """Return what a JSON answer says; None for one that is something else."""
    try:
        return None if isinstance(answer, str) else answer.json()
    except ValueError:
        return None


def _told(answer: _Answer) -> str:
    """Return what an answer says for people."""
    if isinstance(answer, str):
        return answer
    said = _said(answer)
    words = (said.get("message") or said.get("detail")) if isinstance(said, dict) else None
    return f"status {answer.status_code}: {words or answer.reason_phrase}"


def reached(http: httpx.Client, answer: _Answer, *, wanted: bool) -> Finding:
    """Look whether a hasty answers at all."""
    url = str(http.base_url).rstrip("/")
    if isinstance(answer, str):
        level = fail if wanted else warn
        advice = "start one with `hasty up`, or name another by --url or HASTY_URL"
        return level("hasty", f"nothing answers at {url}: {answer}", advice)
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        advice = "wait while it starts; then look at its logs"
        return fail("hasty", f"it cannot be reached through {url}: {_told(answer)}", advice)
    if _said(answer) != {"message": "ok"}:
        advice = "name hasty's own address by --url or HASTY_URL"
        return fail("hasty", f"what answers at {url} is something else: {_told(answer)}", advice)
    return ok("hasty", f"answers at {url}")


def ready(answer: _Answer) -> Finding:
    """Look whether it would take a job now."""
    if not isinstance(answer, str) and answer.status_code == HTTPStatus.OK:
        return ok("ready", "MongoDB, Registry and Dispatcher answer")
    problem = _told(answer).rpartition("not ready: ")[2]
    advice = next((advice for begin, advice in _ADVICE.items() if begin in problem), _ELSE)
    return fail("ready", problem, advice)


def surface(answer: _Answer) -> Finding:
    """Look whether it speaks what this command line speaks."""
    said = _said(answer)
    found = said.get("info", {}).get("version") if isinstance(said, dict) else None
    if found is None:
        return warn(
            "version", f"it does not say: {_told(answer)}", "look at its version with those who run it"
        )
    if found != _SURFACE:
        advice = "install the version of hasty that runs there"
        return fail("version", f"it speaks /v{found}, and this is for /v{_SURFACE}", advice)
    return ok("version", f"it speaks /v{found}, as this does")


def time_of(answer: httpx.Response, clock: Clock) -> Finding:
    """Compare its clock with that of this machine."""
    try:
        ahead = parsedate_to_datetime(answer.headers["Date"]) - clock.now()
    except (KeyError, ValueError, TypeError):
        return warn("clock", "its answers have no date", "have the proxy in front leave them")
    seconds = ahead.total_seconds()
    if abs(ahead) > _MOST_SKEW:
        way = "ahead of" if seconds > 0 else "behind"
        advice = "set the clocks by NTP: times that you name, as in --run-at, mean the clock of MongoDB"
        return warn("clock", f"it is {abs(seconds):.0f} s {way} this machine", advice)
    return ok("clock", "it agrees with this machine")


def access(answer: _Answer, *, keyed: bool) -> Iterator[Finding]:
    """Look whether we may ask it, and how its pools are."""
    status = None if isinstance(answer, str) else answer.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        what = "the API key is not accepted" if keyed else "an API key is needed"
        yield fail("access", what, "set HASTY_API_KEY, or --api-key-file, to one that `hasty keys add` made")
    elif status == HTTPStatus.FORBIDDEN:
        yield warn("access", "the API key is not enough to read", "ask for one with the scope `read`")
    elif status != HTTPStatus.OK:
        yield fail("access", _told(answer), _ELSE)
    else:
        yield ok("access", "the API key is accepted" if keyed else "without an API key")
        said = _said(answer)
        yield from (pool(each) for each in said["pools"])


def pool(state: dict[str, Any]) -> Finding:
    """Look whether a pool has its workers."""
    name, wanted, present = state["name"], state["workers"], state["present"]
    found = f"{present} of {wanted} workers take jobs, {state['running']} run, {state['queued']} wait"
    if present == 0:
        return fail(f"pool {name}", found, "look at Ray's dashboard: have they a node to run on?")
    if present < wanted:
        return warn(f"pool {name}", found, "wait, or look at Ray's dashboard: have they a node to run on?")
    return ok(f"pool {name}", found)
