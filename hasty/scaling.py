"""`hasty scale`: pools are resized over HTTP, by whoever can reach hasty."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from hasty.errors import CannotStart

#: The Dispatcher writes down what is wanted before it answers.
_WITHIN_S = 40.0


def parse_size(text: str) -> tuple[str, int | str]:
    """Read `POOL=N` or `POOL=auto`. Raises CannotStart for anything else."""
    pool, _, size = text.partition("=")
    if pool and size == "auto":
        return pool, size
    if pool and size.isascii() and size.isdigit():
        return pool, int(size)
    raise CannotStart(f"{text!r} is not POOL=N, as in default=8, nor POOL=auto")


class Pools:
    """The pools of the hasty that listens at a URL."""

    def __init__(self, url: str) -> None:
        """Ask nothing yet."""
        self._url = url.rstrip("/")
        # Never by a proxy where it is this machine.
        here = urllib.parse.urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
        self._opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] * here)

    def resize(self, pool: str, workers: int | str) -> str:
        """Have a pool resized; return a line about how it is. Raises CannotStart with why it is not."""
        answer = self._patch(f"/v1/pools/{pool}", {"workers": workers})
        how = "as the settings and the load say" if not answer["pinned"] else "as you say"
        return f"{pool}: {answer['workers']} workers, {how}; {answer['present']} take jobs now"

    def _patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  the operator's own URL
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="PATCH"
        )
        try:
            with self._opener.open(request, timeout=_WITHIN_S) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise CannotStart(_detail(error)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CannotStart(f"cannot reach hasty at {self._url}: {error}") from error
        return found


def _detail(error: urllib.error.HTTPError) -> str:
    """Return what a problem document says, or the status of what is none."""
    try:
        problem: dict[str, Any] = json.loads(error.read())
        told = "; ".join(f"{each['field']}: {each['message']}" for each in problem.get("errors") or ())
        return told or str(problem["detail"])
    except (ValueError, KeyError):
        return f"hasty answered with status {error.code}"
