"""`hasty scale`: what is understood, and what it says when hasty will not, or is not there."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hasty.errors import CannotStart
from hasty.scaling import Pools, parse_size


@pytest.mark.parametrize(
    ("text", "meant"), [("default=8", ("default", 8)), ("gpu-a=auto", ("gpu-a", "auto")), ("x=0", ("x", 0))]
)
def test_a_size_is_understood(text, meant):
    assert parse_size(text) == meant


@pytest.mark.parametrize("text", ["default", "=8", "default=", "default=many", "default=-1", "default=٣", ""])
def test_anything_else_is_told_how_it_is_written(text):
    with pytest.raises(CannotStart, match="is not POOL=N, as in default=8"):
        parse_size(text)


@pytest.fixture
def server():
    """Something that answers each PATCH as the test says."""

    class Answering(BaseHTTPRequestHandler):
        answer = (200, "application/json", "{}")

        def do_PATCH(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked = self.path, asked
            status, kind, body = self.answer
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_about):
            """Be quiet."""

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server, Answering
        server.shutdown()
        thread.join()


def url_of(server):
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_it_says_how_the_pool_is_then(server):
    server, answering = server
    answering.answer = 200, "application/json", '{"workers": 8, "present": 2, "pinned": true}'
    said = Pools(url_of(server)).resize("default", 8)
    assert server.asked == ("/v1/pools/default", {"workers": 8})
    assert said == "default: 8 workers, as you say; 2 take jobs now"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, '{"detail": "There is no pool \'x\'."}', "There is no pool 'x'."),
        (
            422,
            '{"detail": "…", "errors": [{"field": "workers", "message": "too many"}]}',
            "workers: too many",
        ),
        (502, "<html>", "hasty answered with status 502"),
    ],
)
def test_a_refusal_is_told_in_its_own_words(server, status, body, told):
    server, answering = server
    answering.answer = status, "text/plain", body
    with pytest.raises(CannotStart) as refused:
        Pools(url_of(server)).resize("x", 3)
    assert str(refused.value) == told


def test_nobody_there_is_told_with_the_address():
    with pytest.raises(CannotStart, match="cannot reach hasty at http"):
        Pools("http://127.0.0.1:9").resize("default", 2)
