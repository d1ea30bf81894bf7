"""The examples do what they say: real pictures, a real server, a real database, no hasty."""

import contextlib
import http.server
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from PIL import Image

import examples.crawl
import examples.embed
from examples.crawl import crawl
from examples.embed import embed
from examples.ledgered import Overtaken, ledgered
from examples.thumbnails import Picture, thumbnails
from hasty.errors import InvalidRequest
from hasty.handlers.loading import load
from hasty.local.handlers import check
from hasty.settings import Settings
from hasty.testing import Overran, context, perform

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
NAMES = ("crawl", "embed", "ledgered", "thumbnails")
MODULES = tuple(f"examples.{name}" for name in NAMES)


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# All of them -----------------------------------------------------------------------------------


def test_there_are_no_others():
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == sorted(["__init__", "receiver", *NAMES])


@pytest.mark.parametrize("name", [*NAMES, "receiver"])
def test_each_is_short(name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 60


def test_all_load_into_one_hasty():
    assert set(load(Settings(handlers=MODULES))) == {"sleep", *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_alone_in_a_process_of_its_own(name):
    told = check(Settings(handlers=(f"examples.{name}",)), {**os.environ, "PYTHONPATH": str(ROOT)})
    assert any(line.startswith(f"handler {name}: ") for line in told)


def test_only_the_one_that_waits_is_async():
    handlers = load(Settings(handlers=MODULES))
    assert [name for name in NAMES if handlers[name].is_async] == ["crawl"]


def test_what_the_readme_posts_is_accepted():
    handlers = load(Settings(handlers=MODULES))
    posted = [json.loads(body) for body in re.findall(r"-d '(.*)'", (FOLDER / "README.md").read_text())]
    assert {body["handler"] for body in posted} == set(NAMES)
    for body in posted:
        assert handlers[body["handler"]].payload.parse(body["payload"])


# thumbnails ------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    folder = tmp_path / "pictures"
    folder.mkdir()
    monkeypatch.setenv("PICTURES", str(folder))
    Image.linear_gradient("L").resize((640, 320)).save(folder / "cat.png")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def test_thumbnails_are_made_of_each_size(pictures):
    done = perform(thumbnails, {"path": "cat.png", "sizes": [32, 128]})
    assert done.result == {"files": ["cat.png-128.webp", "cat.png-32.webp"]}
    assert names(pictures) == ["cat.png", "cat.png-128.webp", "cat.png-32.webp"]
    assert size(pictures / "cat.png-128.webp") == (128, 64)
    assert size(pictures / "cat.png-32.webp") == (32, 16)
    assert [(said.fraction, said.message) for said in done.progress] == [
        (0.5, "128 pixels"),
        (1.0, "32 pixels"),
    ]


def test_a_thumbnail_is_never_larger_than_its_picture(pictures):
    perform(thumbnails, {"path": "cat.png", "sizes": [2048]})
    assert size(pictures / "cat.png-2048.webp") == (640, 320)


def test_a_photograph_that_lies_on_its_side_is_turned(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn it by 90 degrees
    Image.new("RGB", (640, 320), "red").save(pictures / "phone.jpg", exif=exif)
    perform(thumbnails, {"path": "phone.jpg", "sizes": [64]})
    assert size(pictures / "phone.jpg-64.webp") == (32, 64)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pictures_of_many_kinds_will_do(pictures, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new(mode, (100, 50)).save(pictures / f"a.{suffix}")
    perform(thumbnails, {"path": f"a.{suffix}", "sizes": [16]})
    assert size(pictures / f"a.{suffix}-16.webp") == (16, 8)


def test_a_second_start_makes_the_same_files(pictures):
    first = perform(thumbnails, {"path": "cat.png"})
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    assert perform(thumbnails, {"path": "cat.png"}, attempt=2).result == first.result
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before


@pytest.mark.parametrize("path", ["../secret.png", "link.png", "{outside}", "more/../../secret.png"])
def test_no_file_outside_of_the_folder_is_read(pictures, path):
    outside = pictures.parent / "secret.png"
    Image.new("RGB", (64, 64)).save(outside)
    (pictures / "link.png").symlink_to(outside)
    (pictures / "more").mkdir()
    with pytest.raises(PermissionError, match="is not in the folder of pictures"):
        perform(thumbnails, {"path": path.format(outside=outside)})
    assert names(pictures.parent) == ["pictures", "secret.png"]


def test_what_is_no_picture_is_refused(pictures):
    (pictures / "notes.png").write_text("no picture")
    with pytest.raises(OSError, match="cannot identify image file"):
        perform(thumbnails, {"path": "notes.png"})
    assert names(pictures) == ["cat.png", "notes.png"]


@pytest.mark.parametrize("sizes", [[], [1], [100_000], [16] * 11])
def test_sizes_that_will_not_do_are_refused_when_they_are_sent(sizes):
    with pytest.raises(InvalidRequest, match="sizes"):
        perform(thumbnails, {"path": "cat.png", "sizes": sizes})


def test_a_cancelled_job_stops_between_two_sizes(pictures, monkeypatch):
    job = context(handler="thumbnails")
    save = Image.Image.save

    def cancelled_meanwhile(image, path, *rest):
        save(image, path, *rest)
        job.cancel()

    monkeypatch.setattr(Image.Image, "save", cancelled_meanwhile)
    made = thumbnails(job, Picture(path="cat.png", sizes=[32, 64, 128]))
    assert made.files == ["cat.png-128.webp"]
    assert names(pictures) == ["cat.png", "cat.png-128.webp"]
    assert size(pictures / "cat.png-128.webp") == (128, 64)


def test_an_error_in_the_middle_of_a_file_leaves_no_half_of_it(pictures, monkeypatch):
    def full(_image, path, *_):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space left"):
        perform(thumbnails, {"path": "cat.png", "sizes": [32]})
    assert names(pictures) == ["cat.png"]


def test_a_process_that_dies_in_the_middle_of_a_file_leaves_no_half_under_its_name(pictures):
    dies = """
        import os, signal
        from PIL import Image
        from examples.thumbnails import thumbnails
        from hasty.testing import perform

        save = Image.Image.save

        def die(image, path, *rest):
            save(image, path, *rest)
            os.truncate(path, 10)
            os.kill(os.getpid(), signal.SIGKILL)

        Image.Image.save = die
        perform(thumbnails, {"path": "cat.png", "sizes": [32]})
    """
    assert python(dies).returncode == -signal.SIGKILL
    assert len(names(pictures)) == 2
    assert not (pictures / "cat.png-32.webp").exists()
    # The next attempt makes the file, and takes away what was left.
    perform(thumbnails, {"path": "cat.png", "sizes": [32]}, attempt=2)
    assert names(pictures) == ["cat.png", "cat.png-32.webp"]
    assert size(pictures / "cat.png-32.webp") == (32, 16)


# crawl -----------------------------------------------------------------------------------------


class Website(http.server.ThreadingHTTPServer):
    """A site on this machine."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        #: What stands at each path.
        self.pages: dict[str, str] = {}
        #: What else there is: a status, and headers.
        self.others: dict[str, tuple[int, dict[str, str]]] = {}
        #: So often a path says 503 before its page is shown.
        self.failures: Counter[str] = Counter()
        #: How often each path was asked for.
        self.visited: Counter[str] = Counter()
        #: What a path waits for before it answers.
        self.waits = {}

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def page(self, path: str, *hrefs: str) -> None:
        self.pages[path] = "".join(f'<li><A class="x" HREF="{href}">there</A>' for href in hrefs)


class Visitor(http.server.BaseHTTPRequestHandler):
    server: Website

    def do_GET(self):
        site, path = self.server, self.path
        site.visited[path] += 1
        with contextlib.suppress(OSError):  # whoever asked is gone
            site.waits.get(path, bool)()
            if site.failures[path] > 0:
                site.failures[path] -= 1
                self._answer(503, {})
            elif path in site.others:
                self._answer(*site.others[path])
            elif path in site.pages:
                self._answer(200, {"Content-Type": "text/html; charset=utf-8"}, site.pages[path])
            else:
                self._answer(404, {"Content-Type": "text/html"}, "nothing is here")

    def _answer(self, status: int, headers: dict[str, str], body: str = "") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with Website() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def crawled(site: Website, **options):
    return perform(crawl, {"start": f"http://{site.host}/"}, **options)


def test_a_crawl_counts_the_pages_and_names_the_broken_links(site):
    site.page("/", "/a", "b?x=1&amp;y=2", "/gone", "#top")
    site.page("/a", "/", "/a#part", "/gone", "old")
    site.page("/b?x=1&y=2", f"http://{site.host}/a")
    site.others["/old"] = (410, {})
    done = crawled(site)
    assert done.result == {
        "pages": 5,
        "broken": [f"http://{site.host}/gone", f"http://{site.host}/old"],
    }
    # Each was asked for once, however many links lead to it.
    assert site.visited == {"/": 1, "/a": 1, "/b?x=1&y=2": 1, "/gone": 1, "/old": 1}
    assert done.progress[-1].fraction == 1
    assert done.progress[-1].message == "5 pages"
    assert len(done.progress) == 3


def test_a_crawl_stays_on_its_host(site):
    # Nobody serves the other one: a visit to it would end in an error.
    with Website() as other:
        site.page("/", f"http://{other.host}/", f"//{other.host}/", "/away", f"ftp://{site.host}/", "/inside")
        site.others["/away"] = (302, {"Location": f"http://{other.host}/"})
        site.others["/inside"] = (301, {"Location": "/new"})
        site.page("/new")
        assert crawled(site).result == {"pages": 4, "broken": []}
        assert set(site.visited) == {"/", "/away", "/inside", "/new"}


def test_links_that_are_no_addresses_are_left_out(site):
    site.page("/", "http://[bad", ":http:// [.^", "//h:99999x/", "mailto:a@b", "javascript:void(0)", "/\x01")
    assert crawled(site).result == {"pages": 1, "broken": []}


def test_only_pages_are_read(site):
    site.page("/", "/film")
    # It never comes: a crawl that waited for it would fail.
    site.others["/film"] = (200, {"Content-Type": "video/mp4", "Content-Length": "1000000000"})
    assert crawled(site).result == {"pages": 2, "broken": []}


def test_a_crawl_ends_at_its_limit(site, monkeypatch):
    monkeypatch.setattr(examples.crawl, "AT_MOST", 10)
    site.page("/", *(f"/{number}" for number in range(30)))
    assert crawled(site).result["pages"] == 10
    assert site.visited.total() == 10


def test_a_crawl_asks_for_eight_pages_at_once_and_no_more(site):
    paths = [f"/{number}" for number in range(16)]
    site.page("/", *paths)
    together = threading.Barrier(8, timeout=30)
    here, most, lock = 0, 0, threading.Lock()

    def wait():
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        together.wait()
        with lock:
            here -= 1

    for path in paths:
        site.page(path)
        site.waits[path] = wait
    assert crawled(site).result["pages"] == 17
    assert most == 8


def test_a_site_that_is_down_for_a_moment_costs_attempts_and_not_the_job(site):
    retry = load(Settings(handlers=("examples.crawl",)))["crawl"].retry
    assert retry.retries == 3
    site.page("/", "/a", "/moody", "/b")
    for path in ("/a", "/b", "/moody"):
        site.page(path)
    site.failures["/moody"] = 2
    for attempt in (1, 2):
        with pytest.raises(httpx.HTTPStatusError, match="503 Service Unavailable") as raised:
            crawled(site, attempt=attempt)
        assert retry.follows(raised.value)
    assert crawled(site, attempt=3).result == {"pages": 4, "broken": []}
    assert site.visited["/moody"] == 3


def test_a_site_that_asks_for_patience_is_visited_later(site):
    site.others["/"] = (429, {"Retry-After": "1"})
    with pytest.raises(httpx.HTTPStatusError, match="429"):
        crawled(site)


def test_a_site_that_does_not_answer_is_visited_later():
    with Website() as gone:
        host = gone.host
    retry = load(Settings(handlers=("examples.crawl",)))["crawl"].retry
    with pytest.raises(httpx.ConnectError) as raised:
        perform(crawl, {"start": f"http://{host}/"})
    assert retry.follows(raised.value)
    assert not retry.follows(ValueError())


def test_an_attempt_has_its_time(site):
    assert load(Settings(handlers=("examples.crawl",)))["crawl"].timeout_s == 60
    over = threading.Event()
    site.page("/")
    site.waits["/"] = over.wait
    try:
        with pytest.raises(Overran):
            crawled(site, timeout=0.3)
    finally:
        over.set()


@pytest.mark.parametrize("start", ["nowhere", "ftp://host/", "file:///etc/passwd", ""])
def test_what_is_no_address_is_refused_when_it_is_sent(start):
    with pytest.raises(InvalidRequest, match="start"):
        perform(crawl, {"start": start})


# embed -----------------------------------------------------------------------------------------


def vector(text: str) -> list[float]:
    return perform(embed, {"text": text}).result["vector"]


def alike(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(vector(one), vector(other), strict=True))


def test_a_vector_has_the_length_one():
    found = vector("a durable job service")
    assert len(found) == examples.embed.WIDTH
    assert math.hypot(*found) == pytest.approx(1, abs=1e-3)
    assert all(number == round(number, 5) for number in found)


def test_texts_that_look_alike_get_vectors_that_are_alike():
    assert alike("A durable job service", "a durable job service") == pytest.approx(1, abs=1e-3)
    assert alike("a durable job service", "durable services for jobs") > 0.5
    assert abs(alike("a durable job service", "quick brown foxes")) < 0.3


@pytest.mark.parametrize("text", ["", "a", "ä", "日本語", "\n"])
def test_every_text_has_a_vector(text):
    assert math.hypot(*vector(text)) == pytest.approx(1, abs=1e-3)


def test_the_model_is_loaded_once_for_a_process():
    examples.embed.model.cache_clear()
    cold, warm = (perform(embed, {"text": text}).result["waited_ms"] for text in ("first", "second"))
    assert examples.embed.model.cache_info()[:2] == (1, 1)
    assert cold > 10 * warm


def test_the_model_is_not_loaded_where_only_the_module_is():
    program = "import examples.embed; print(examples.embed.model.cache_info().misses)"
    assert python(program).stdout == "0\n"


def test_every_process_gives_a_text_the_same_vector():
    program = """
        import json
        from examples.embed import embed
        from hasty.testing import perform
        print(json.dumps(perform(embed, {"text": "the same"}).result["vector"]))
    """
    for seed in ("1", "2"):
        assert json.loads(python(program, PYTHONHASHSEED=seed).stdout) == vector("the same")


# ledgered --------------------------------------------------------------------------------------


@pytest.fixture
def balances(tmp_path, monkeypatch):
    file = tmp_path / "balances.db"
    monkeypatch.setenv("BALANCES", str(file))

    def read() -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(file)) as database:
            return dict(database.execute("SELECT customer, cents FROM balances"))

    return read


def book(*cents: int, **which):
    return perform(ledgered, {"cents": list(cents)}, **which).result


def test_a_balance_is_written(balances):
    assert book(1250, -300, object_id="ada") == {"cents": 950}
    assert book(7, object_id="bob") == {"cents": 7}
    assert balances() == {"ada": 950, "bob": 7}


def test_an_attempt_that_comes_back_late_changes_nothing(balances):
    book(200, object_id="ada", attempt=2)
    with pytest.raises(Overtaken, match="attempt 1 comes after a newer one"):
        book(100, object_id="ada", attempt=1)
    assert balances() == {"ada": 200}


def test_neither_does_one_of_an_earlier_run(balances):
    book(300, object_id="ada", run=2)
    with pytest.raises(Overtaken):
        book(200, object_id="ada", run=1, attempt=5)
    assert balances() == {"ada": 300}


def test_a_newer_attempt_and_a_newer_run_write(balances):
    for number, (run, attempt) in enumerate([(1, 1), (1, 2), (2, 1), (3, 1)]):
        book(number, object_id="ada", run=run, attempt=attempt)
        assert balances() == {"ada": number}


def test_an_attempt_may_write_twice(balances):
    book(1, object_id="ada")
    book(2, object_id="ada")
    assert balances() == {"ada": 2}


def test_a_late_attempt_for_one_customer_does_not_hold_up_another(balances):
    book(1, object_id="ada", attempt=9)
    book(2, object_id="bob", attempt=1)
    assert balances() == {"ada": 1, "bob": 2}
