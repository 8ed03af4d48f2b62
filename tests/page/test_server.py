"""The live page's server: a real one on a real port, what it tells, and whom it lets in."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Phase, Status
from recipelab.evaluation.live import LiveBoard
from recipelab.lineage import LineageStore, NewMessage
from recipelab.page import server
from recipelab.page.listening import Binding, listening_socket
from recipelab.page.security import BODY_BYTES, Access
from recipelab.page.server import PageServer
from recipelab.page.source import PageLineage
from tests.lineage.conftest import DATABASES, MakeDatabase
from tests.page.lineages import CAMPAIGN, HOSTILE, SHOWN, VIEW, fill, judge, new_campaign, propose

PATIENCE = 20.0
"""Seconds after which something that has to come is given up."""

JSON = {"content-type": "application/json"}


@dataclass
class Served:
    """A server that runs, and who asks it.

    Attributes:
        url: Its address, with a slash at the end.
        client: A client of it.
        home: Folder of the campaigns.
        token: What it asks for.
    """

    url: str
    client: httpx.Client
    home: Home
    token: str | None

    def get(self, path: str, **given: Any) -> httpx.Response:
        """The answer to a question about the campaign."""
        return self.client.get(f"/api/campaigns/{CAMPAIGN}{path}", **given)

    def post(self, what: str, body: object = None, **given: Any) -> httpx.Response:
        """The answer to an action on the campaign."""
        content = json.dumps({} if body is None else body)
        path = f"/api/campaigns/{CAMPAIGN}/{what}"
        return self.client.post(path, content=content, **{"headers": JSON, **given})


@contextmanager
def serving(home: Home, target: str | None = None, **binding: Any) -> Iterator[Served]:
    """A server in a thread of its own, on a port that is free."""
    page = PageServer(PageLineage(home, target), Binding(port=0, **binding))
    loops: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        started.set()
        await page.run()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert started.wait(PATIENCE)
        url = page.url.partition("?")[0]
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            yield Served(url, client, home, page.token)
    finally:
        loops[0].call_soon_threadsafe(page.stop)
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The folder of the campaigns."""
    return Home(tmp_path / "home")


@pytest.fixture
def served(store: LineageStore, home: Home) -> Iterator[Served]:
    """A server of a lineage with a campaign."""
    with serving(home) as found:
        yield found


class Events:
    """A stream of changes, read in a thread.

    Args:
        url: The server.
        name: Name of the campaign.
    """

    def __init__(self, url: str, name: str = CAMPAIGN) -> None:
        self.seen: list[tuple[float, str, Any]] = []
        self.ended = threading.Event()
        self._came = threading.Condition()
        self._url = f"{url}api/campaigns/{name}/events"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        event = ""
        try:
            with httpx.stream("GET", self._url, timeout=PATIENCE) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                for line in answer.iter_lines():
                    if line.startswith("event: "):
                        event = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        self._add(event, json.loads(line.removeprefix("data: ")))
        except httpx.HTTPError:
            pass
        self.ended.set()

    def _add(self, event: str, told: Any) -> None:
        with self._came:
            self.seen.append((time.monotonic(), event, told))
            self._came.notify_all()

    def until(self, is_it: Callable[[str, Any], bool]) -> tuple[float, Any]:
        """When the first event came of which something is true, and what it told."""
        with self._came:
            assert self._came.wait_for(lambda: self._found(is_it) is not None, PATIENCE)
        found = self._found(is_it)
        assert found is not None
        return found

    def _found(self, is_it: Callable[[str, Any], bool]) -> tuple[float, Any] | None:
        return next(((at, told) for at, event, told in self.seen if is_it(event, told)), None)


def test_the_page_and_its_files_come_with_a_strict_policy(served: Served) -> None:
    for path, kind in (("/", "text/html"), ("/static/page.js", "text/javascript")):
        answer = served.client.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        rules = dict(
            rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
        )
        assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/static/",
        "/static/page.js%00.css",
        "/../../etc/passwd",
        "/api/campaigns/..%2f..%2fhome",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_leads_to_another_file(served: Served, path: str) -> None:
    """Asked as they are, which a client that tidies addresses would not."""
    status, body = raw(served.url, f"GET {path} HTTP/1.1", "Host: localhost")
    assert status == 404 and "error" in json.loads(body)


def raw(url: str, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of the answer to a request that is sent as it is."""
    port = int(url.rsplit(":", 1)[1].rstrip("/"))
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        head = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
        connection.sendall(head + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), content


def test_the_campaign_can_be_read(served: Served) -> None:
    (campaign,) = served.client.get("/api/campaigns").json()
    assert campaign["name"] == CAMPAIGN
    assert served.get("").json()["best"] == 1
    trials = served.get("/trials").json()
    assert trials["columns"]["number"] == [0, 1, 2, 3, 4, 5]
    trial = served.get("/trials/1").json()
    assert trial["chat"] == [1, 3, 4]
    assert served.get(f"/views/{trial['view']}").json()["text"] == VIEW
    chat = served.get("/chat", params={"from": 3, "count": 1}).json()
    assert [m["position"] for m in chat["messages"]] == [3] and chat["total"] == 5
    assert served.get("/now").json()["queued"] == [5]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/trials/77", 404, "it has trials 0 to 5"),
        ("/trials/x", 422, "number"),
        ("/trials/-1", 422, "number"),
        (f"/trials/{10**30}", 422, "number"),
        ("/views/" + "0" * 64, 404, "no turn"),
        ("/views/%2e%2e", 404, "error"),
        ("/chat?from=-1", 422, "from"),
        ("/chat?count=100000", 422, "count"),
        ("/trials?since=" + "9" * 90, 422, "since"),
        ("/nothing", 404, "Not Found"),
    ],
)
def test_what_is_not_there_is_told(served: Served, path: str, status: int, told: str) -> None:
    answer = served.get(path)
    assert answer.status_code == status and told in answer.text
    assert list(answer.json()) == ["error"]


def test_an_unknown_campaign_is_told_with_those_there_are(served: Served) -> None:
    for path in ("", "/events", "/trials"):
        answer = served.client.get(f"/api/campaigns/nope{path}")
        assert answer.status_code == 404 and CAMPAIGN in answer.json()["error"]
    hostile = served.client.get("/api/campaigns/%3Cb%3E%1b")
    assert hostile.status_code == 404 and "\x1b" not in hostile.text


def test_large_answers_are_compressed_for_those_who_take_it(
    served: Served, store: LineageStore
) -> None:
    said = [NewMessage("a", "TextMessage", {"content": "x" * 9000})] * 20
    store.add_messages(CAMPAIGN, said, round_number=None)
    packed = served.get("/chat", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    plain = served.get("/chat", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.json() == packed.json()


# Whom it lets in.


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "localhost@evil.example",
    ],
)
def test_another_name_of_this_address_is_refused(served: Served, host: str) -> None:
    """A site whose name points here would otherwise have its page read the campaigns."""
    status, body = raw(served.url, "GET /api/campaigns HTTP/1.1", f"Host: {host}")
    assert status in (400, 403) and CAMPAIGN.encode() not in body


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9999", "127.0.0.1:1", "[::1]:8642", "LOCALHOST"]
)
def test_a_tunnel_may_have_another_port(served: Served, host: str) -> None:
    assert raw(served.url, "GET /api/campaigns HTTP/1.1", f"Host: {host}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "file://"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_can_neither_read_nor_act(
    served: Served, store: LineageStore, headers: dict[str, str]
) -> None:
    assert served.get("", headers=headers).status_code == 403
    answer = served.post("note", {"text": "from elsewhere"}, headers=JSON | headers)
    assert answer.status_code == 403 and len(store.notes(CAMPAIGN)) == 1


def test_the_page_itself_can_act(served: Served, store: LineageStore) -> None:
    own = {"origin": served.url.rstrip("/"), "sec-fetch-site": "same-origin"}
    assert served.post("note", {"text": "mind the gap"}, headers=JSON | own).status_code == 200
    assert store.notes(CAMPAIGN)[-1].text == "mind the gap"


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_a_form_cannot_act(served: Served, store: LineageStore, kind: str) -> None:
    """What a browser sends for another site without asking first."""
    answer = served.post("note", {"text": "hello"}, headers={"content-type": kind})
    assert answer.status_code == 415 and len(store.notes(CAMPAIGN)) == 1


def test_a_body_is_bounded_whatever_it_announces(served: Served, store: LineageStore) -> None:
    long = {"text": "x" * BODY_BYTES}
    assert served.post("note", long).status_code == 413
    pieces = (b'{"text": "' + b"x" * 1000 for _ in range(200))
    answer = served.client.post(f"/api/campaigns/{CAMPAIGN}/note", content=pieces, headers=JSON)
    assert answer.status_code == 413
    head = (
        "POST /api/campaigns/x/note HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
    )
    assert raw(served.url, *head, "Content-Length: 99999999999")[0] == 413
    assert len(store.notes(CAMPAIGN)) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(served: Served, method: str) -> None:
    answer = served.client.request(method, f"/api/campaigns/{CAMPAIGN}")
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_is_asked_for_once_and_then_kept_in_a_cookie(
    store: LineageStore, home: Home
) -> None:
    with serving(home, token=True) as served:
        assert served.token is not None
        for path in ("/", "/static/page.js", "/api/campaigns", "/?token=wrong", "/?token="):
            assert served.client.get(path).status_code == 401
        # Only the page itself takes it from an address, so that it stays out of histories.
        assert served.get("", params={"token": served.token}).status_code == 401
        opened = served.client.get("/", params={"token": served.token})
        assert opened.status_code == 303 and opened.headers["location"] == "/"
        cookie = opened.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert served.get("").status_code == 200
        with httpx.Client(base_url=served.url) as other:
            bearer = {"authorization": f"Bearer {served.token}"}
            assert other.get("/api/campaigns").status_code == 401
            assert other.get("/api/campaigns", headers=bearer).status_code == 200
            odd = {"cookie": 'recipelab_1=x; ;;=; "', "authorization": "Bearer x"}
            assert other.get("/api/campaigns", headers=odd).status_code == 401


def test_elsewhere_than_here_a_token_is_a_must(store: LineageStore, home: Home) -> None:
    with serving(home, host="0.0.0.0") as served:
        assert served.token is not None and "?token=" not in served.url
        port = served.url.rsplit(":", 1)[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/api/campaigns").status_code == 401


@pytest.mark.parametrize(
    ("bound", "host", "knows"),
    [
        ("127.0.0.1", "10.0.0.5:8642", False),
        ("0.0.0.0", "10.0.0.5:8642", True),
        ("0.0.0.0", "[fe80::1]:8642", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", "lab.example:443", True),
        ("::", socket.gethostname(), True),
    ],
)
def test_names_of_a_server_that_others_reach(bound: str, host: str, knows: bool) -> None:
    assert Access.of_binding(bound, 8642, "t", ["lab.example"]).knows(host) is knows


# What people do.


def test_notes_are_left_and_retired(served: Served, store: LineageStore) -> None:
    told = served.post("note", {"text": HOSTILE, "specialist": "left", "trial": 1})
    assert told.json()["note"]["text"] == SHOWN
    number = told.json()["note"]["number"]
    assert store.notes(CAMPAIGN)[-1].trial == 1
    assert served.post("note", {"retire": number}).json() == {"done": True}
    assert number not in [note.number for note in store.notes(CAMPAIGN)]


@pytest.mark.parametrize(
    ("what", "body", "status", "told"),
    [
        ("note", {}, 422, "give the text"),
        ("note", {"text": "a", "retire": 1}, 422, "give the text"),
        ("note", {"text": " "}, 404, "must say something"),
        ("note", {"text": "a", "trial": 99}, 404, "it has trials"),
        ("note", {"text": "a", "other": 1}, 422, "other"),
        ("note", {"text": "x" * 5000}, 422, "text"),
        ("note", {"retire": 7}, 404, "no note 7"),
        ("note", [], 422, "error"),
        ("kill", {}, 422, "trial"),
        ("kill", {"trial": 5}, 409, "no process runs campaign"),
        ("kill", {"trial": 99}, 404, "it has trials"),
        ("pause", {}, 409, "nothing to pause"),
        ("stop", {}, 409, "nothing to stop"),
        ("format_disk", {}, 404, "Not Found"),
    ],
)
def test_what_cannot_be_done_is_told(
    served: Served, what: str, body: object, status: int, told: str
) -> None:
    answer = served.post(what, body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert told in answer.text


def test_a_running_campaign_is_paused_resumed_and_stopped(
    served: Served, store: LineageStore, home: Home
) -> None:
    """The wishes lie where the process that runs the campaign looks for them."""
    assert served.post("resume").json() == {"resumed": False}
    board = LiveBoard(home.live(CAMPAIGN))
    with home.locked(CAMPAIGN):
        assert served.post("pause").status_code == 200
        assert store.campaign(CAMPAIGN).state == "paused"
        assert served.post("resume").json() == {"resumed": True}
        assert store.campaign(CAMPAIGN).state == "running"
        assert served.post("kill", {"trial": 5}).status_code == 200
        assert served.post("kill", {"trial": 0}).status_code == 409
        assert board.take_kills() == (5,)
        assert not board.take_stop()
        assert served.post("stop").status_code == 200
        assert board.take_stop() and not board.take_stop()


# What changes.


@pytest.mark.parametrize("kind", DATABASES)
def test_two_browsers_learn_of_a_change_at_once(
    kind: str, make_database: MakeDatabase, home: Home
) -> None:
    target = make_database(kind)
    with LineageStore.open(target, create=True) as store:
        fill(store)
        with serving(home, target) as served:
            browsers = [Events(served.url), Events(served.url)]
            for browser in browsers:
                browser.until(lambda event, told: event == "changed")
            first = served.get("/trials").json()["token"]
            number = propose(store, 0)
            judge(store, number, Status.DISCARDED, score=9.0, delta=1.0)
            said = [NewMessage("left", "TextMessage", {"content": "hello"})]
            store.add_messages(CAMPAIGN, said, round_number=None)
            committed = time.monotonic()
            for browser in browsers:
                at, told = browser.until(lambda event, told: told.get("messages") == 6)
                assert told["trials"] != first and told["state"] == "running"
                # The bar is a second; a machine that is busy with other tests gets five.
                assert at - committed < 5.0
            changed = served.get("/trials", params={"since": first}).json()
            assert not changed["whole"] and changed["columns"]["number"] == [5, number]
    for browser in browsers:
        assert browser.ended.wait(PATIENCE)


def test_a_note_is_news_for_the_other_browser(served: Served) -> None:
    """No event tells of notes, but whoever hears of a change asks for them."""
    events = Events(served.url)
    events.until(lambda event, told: event == "changed")
    seen = len(events.seen)
    assert served.post("note", {"text": "mind the gap"}).status_code == 200
    events.until(lambda event, told: len(events.seen) > seen)


def test_events_are_few_however_much_happens(served: Served, store: LineageStore) -> None:
    """A browser that is told of everything could show nothing."""
    events = Events(served.url)
    events.until(lambda event, told: event == "changed")
    began = time.monotonic()
    while time.monotonic() - began < 1.2:
        store.add_messages(
            CAMPAIGN, [NewMessage("a", "TextMessage", {"content": "b"})], round_number=None
        )
    last = store.message_count(CAMPAIGN)
    events.until(lambda event, told: told.get("messages") == last)
    times = [at for at, *_ in events.seen]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    # Events are made half a second apart; they may be read a little closer.
    assert len(times) >= 2 and sum(gaps) / len(gaps) > 0.4


def test_phases_that_run_are_shown_with_their_logs(
    served: Served, store: LineageStore, home: Home
) -> None:
    events = Events(served.url)
    with home.locked(CAMPAIGN):
        board = LiveBoard(home.live(CAMPAIGN))
        with board.running(5, Phase.TRAIN, 1, 60.0, beside=False) as write:
            write(f"step 1\n{HOSTILE}\n".encode())
            _, told = events.until(
                lambda event, told: any(
                    r["log"][-1:] for r in told.get("now", {}).get("running", ())
                )
            )
            (running,) = told["now"]["running"]
            assert (running["trial"], running["phase"], running["seed"]) == (5, "train", 1)
            assert running["log"][0] == "step 1" and "\x1b" not in running["log"][-1]
        events.until(
            lambda event, told: (
                event == "changed" and told["now"]["driver_alive"] and not told["now"]["running"]
            )
        )
    _, told = events.until(
        lambda event, told: len(events.seen) > 2 and told["now"]["driver_alive"] is False
    )


def test_a_lineage_that_goes_away_comes_back(
    served: Served, store: LineageStore, home: Home, tmp_path: Path
) -> None:
    events = Events(served.url)
    events.until(lambda event, told: event == "changed")
    file, away = home.root / "lineage.db", tmp_path / "away"
    file.rename(away)
    gone = served.get("")
    assert gone.status_code == 503 and "no lineage at" in gone.json()["error"]
    _, told = events.until(lambda event, told: event == "trouble")
    assert "no lineage at" in told["error"]
    with LineageStore.open(file, create=True) as another:
        new_campaign(another)
        assert served.get("/trials").json()["columns"]["number"] == []
        _, told = events.until(lambda event, told: told.get("messages") == 0)
        propose(another, None)
        events.until(lambda event, told: told.get("trials", "").startswith("0."))


def test_a_file_that_is_no_lineage_is_told(served: Served, home: Home) -> None:
    file = home.root / "lineage.db"
    file.unlink()
    file.write_text("not a database at all")
    answer = served.get("/trials")
    assert answer.status_code == 503 and "is not a lineage" in answer.json()["error"]


@pytest.mark.postgres
def test_a_locked_lineage_is_told_and_comes_back(
    make_database: MakeDatabase, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.5)
    target = make_database("postgres")
    with LineageStore.open(target, create=True) as store:
        fill(store)
        with serving(home, target) as served:
            engine = create_engine(target)
            with engine.begin() as holder:
                holder.execute(text("LOCK TABLE trial IN ACCESS EXCLUSIVE MODE"))
                answer = served.get("/trials")
                assert answer.status_code == 503 and "locked" in answer.json()["error"]
            engine.dispose()
            assert served.get("/trials").status_code == 200


# As a command.


def command(home: Home, *words: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "recipelab", "ui", "--no-open", "--home", str(home.root), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def test_ctrl_c_ends_it_at_once_whoever_looks(store: LineageStore, home: Home) -> None:
    process = command(home, "--port", "0")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.partition("campaigns: ")[2].strip()
        events = Events(url)
        events.until(lambda event, told: event == "changed")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert events.ended.wait(PATIENCE)
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_a_port_in_use_is_told_with_a_way_out(store: LineageStore, home: Home) -> None:
    with listening_socket(Binding(port=0)) as taken:
        port = taken.getsockname()[1]
        process = command(home, "--port", str(port))
        told, _ = process.communicate(timeout=PATIENCE * 2)
    assert process.returncode == 2
    assert f"port {port}" in told and "--port 0" in told and "Traceback" not in told


def test_what_it_cannot_listen_on_or_show_is_told(home: Home) -> None:
    with pytest.raises(RecipelabError, match="no lineage at"):
        PageServer(PageLineage(home), Binding(port=0))
    with pytest.raises(RecipelabError, match="is no address"):
        listening_socket(Binding("not a name", 0))
    with pytest.raises(RecipelabError, match="--port N"):
        listening_socket(Binding("203.0.113.7", 0))


def test_the_extra_that_is_missing_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from recipelab.cli.app import app

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "uvicorn" else name
    )
    told = CliRunner().invoke(app, ["ui", "--home", str(home.root)])
    assert told.exit_code == 2 and "pip install 'recipelab[ui]'" in told.output
    assert "needs uvicorn:" in told.output
