"""A client that follows events into a file, and goes on where that ends: `follower.py URL FILE`."""

import http.client
import sys
import urllib.parse
from pathlib import Path


def last_whole_line(file: Path) -> str:
    """Return the id that was written last; what was cut off in the middle goes."""
    text = file.read_text() if file.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole)
    return whole.split()[-2] if whole else ""


def follow(url: str, file: Path) -> None:
    """Write a line for each event: its id, and what it is."""
    parts = urllib.parse.urlsplit(url)
    last = last_whole_line(file)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request("GET", "/v1/events", headers={"Last-Event-ID": last} if last else {})
    answer = connection.getresponse()
    if answer.status != 200:
        return
    with file.open("a") as out:
        event = {}
        while line := answer.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                event[name] = value
            elif "id" in event:
                # Without an event it says where we are: behind the last one that there is.
                out.write(f"{event['id']} {event.get('event', '-')}\n")
                out.flush()
                event = {}


if __name__ == "__main__":
    while True:
        try:
            follow(sys.argv[1], Path(sys.argv[2]))
        except (OSError, http.client.HTTPException):
            continue
