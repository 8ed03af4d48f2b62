"""The file that opens anywhere: what a browser reads of it, its policy, and what it costs."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode, b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recipelab.campaign.reader import CampaignReader
from recipelab.cli.app import app
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore, NewMessage
from recipelab.page import export
from recipelab.page.data import CampaignData
from recipelab.page.export import Bundle, Mode, write_page
from tests.page.lineages import CAMPAIGN, HOSTILE, SHOWN, VIEW, fill, judge

BUNDLE = Bundle("const a = 1 < 2;", "body { color: red }")


class Opened(HTMLParser):
    """A file as a browser takes it apart."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self.policy = ""
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))
        data, self.script = self.texts["script"]
        self.told: dict[str, Any] = json.loads(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        self._inside = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside][-1] += data

    def chunk(self, name: str) -> Any:
        """A chunk, unpacked as the page does it."""
        value = self.told["chunks"][name]
        return json.loads(gzip.decompress(b64decode(value))) if isinstance(value, str) else value


def written(path: Path, data: CampaignData, mode: Mode = Mode.REPORT) -> Opened:
    """The file of a campaign."""
    write_page(path, [data], mode, bundle=BUNDLE)
    return Opened(path)


def test_a_file_holds_the_campaign_whole(tmp_path: Path, data: CampaignData) -> None:
    page = written(tmp_path / "night.html", data)
    assert page.told["mode"] == "report"
    assert [row["name"] for row in page.chunk("campaigns")] == [CAMPAIGN]
    trials = page.chunk(f"trials:{CAMPAIGN}")
    assert trials["whole"] and trials["columns"]["number"] == [0, 1, 2, 3, 4, 5]
    details = page.chunk(f"detail:{CAMPAIGN}:0")
    assert [detail["number"] for detail in details] == [0, 1, 2, 3, 4, 5]
    kept = details[1]
    assert kept["chat"] == [1, 3, 4] and details[2]["fixed_by"] == [3]
    assert [run["seed"] for run in kept["beside"]] == [0, 1]
    assert "+x = 4" in details[3]["diff_from_start"]
    campaign = page.chunk(f"campaign:{CAMPAIGN}")
    assert campaign["views"] == [[kept["view"]]] and campaign["best"] == 1
    assert page.chunk(f"view:{CAMPAIGN}:0")[0]["text"] == VIEW
    assert [message["position"] for message in page.chunk(f"chat:{CAMPAIGN}:0")] == [0, 1, 2, 3, 4]


def test_the_policy_names_what_the_file_runs_and_nothing_else(
    tmp_path: Path, data: CampaignData
) -> None:
    page = written(tmp_path / "night.html", data, Mode.REPLAY)
    sums = [
        b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (page.script, page.texts["style"][0])
    ]
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{sums[0]}'"
    assert rules["style-src"] == f"'sha256-{sums[1]}'"
    assert page.told["mode"] == "replay"


def test_hostile_text_is_data_and_opens_no_tag(tmp_path: Path) -> None:
    with LineageStore.open(tmp_path / "lineage.db", create=True) as store:
        fill(store, hypothesis=HOSTILE)
        plain = written(tmp_path / "a.html", CampaignData(CampaignReader(store, CAMPAIGN)))
        assert "img" not in plain.tags and plain.tags.count("script") == 2
        broken = plain.chunk(f"detail:{CAMPAIGN}:0")[2]
        assert broken["hypothesis"] == broken["failure"]["excerpt"] == SHOWN
        # The rows of campaigns are the part that is not compressed.
        store.end_campaign(CAMPAIGN, "stopped", HOSTILE)
        page = written(tmp_path / "b.html", CampaignData(CampaignReader(store, CAMPAIGN)))
        assert page.chunk("campaigns")[0]["stop_reason"] == SHOWN
        assert page.tags == plain.tags


def test_a_program_cannot_end_its_own_element(
    tmp_path: Path, data: CampaignData, monkeypatch: pytest.MonkeyPatch
) -> None:
    static = tmp_path / "static"
    static.mkdir()
    (static / "page.js").write_text('const end = "</script>";')
    (static / "page.css").write_text('a::before { content: "</style>" }')
    monkeypatch.setattr(export, "files", lambda package: tmp_path)
    write_page(tmp_path / "night.html", [data], Mode.REPORT)
    page = Opened(tmp_path / "night.html")
    assert page.script == 'const end = "<\\/script>";'
    assert page.texts["style"] == ['a::before { content: "<\\/style>" }']


def test_chunks_have_their_trials_and_messages_by_place(
    tmp_path: Path, store: LineageStore, data: CampaignData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "DETAIL_TRIALS", 4)
    monkeypatch.setattr(export, "CHAT_MESSAGES", 2)
    page = written(tmp_path / "night.html", data)
    for place, numbers in enumerate([[0, 1, 2, 3], [4, 5]]):
        assert [d["number"] for d in page.chunk(f"detail:{CAMPAIGN}:{place}")] == numbers
    for place, positions in enumerate([[0, 1], [2, 3], [4]]):
        assert [m["position"] for m in page.chunk(f"chat:{CAMPAIGN}:{place}")] == positions


def test_a_big_campaign_leaves_out_what_led_to_nothing(
    tmp_path: Path, store: LineageStore, data: CampaignData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Diffs of trials that were not kept, questions to tools, and the beginnings of logs."""
    monkeypatch.setattr(export, "MOST_DIFFS", 2)
    monkeypatch.setattr(export, "MOST_MESSAGES", 2)
    monkeypatch.setattr(export, "LOG_CHARACTERS", 0)
    monkeypatch.setattr(export, "LEAST_LOG", 20)
    judge(store, 5, Status.DISCARDED, score=9.0, log_tail="first " + "x" * 100 + " last")
    page = written(tmp_path / "night.html", data)
    details = page.chunk(f"detail:{CAMPAIGN}:0")
    assert [d["number"] for d in details if d["diff_from_start"] is not None] == [1]
    assert details[5]["log_tail"].endswith(" last") and len(details[5]["log_tail"]) == 20
    assert [m["position"] for m in page.chunk(f"chat:{CAMPAIGN}:0")] == [0, 2, 3, 4]


def test_several_campaigns_share_a_file(
    tmp_path: Path, store: LineageStore, data: CampaignData
) -> None:
    fill(store, "other")
    other = CampaignData(CampaignReader(store, "other", home=data.reader.home))
    write_page(tmp_path / "both.html", [other, data], Mode.REPORT, bundle=BUNDLE)
    page = Opened(tmp_path / "both.html")
    assert [row["name"] for row in page.chunk("campaigns")] == ["other", CAMPAIGN]
    for name in ("other", CAMPAIGN):
        assert len(page.chunk(f"trials:{name}")["columns"]["number"]) == 6


def asked(tmp_path: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a command; what goes wrong is no traceback."""
    found = CliRunner().invoke(app, [*words, "--home", str(tmp_path / "home")])
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found.exit_code, found.output


def test_report_writes_a_file_once(tmp_path: Path, store: LineageStore) -> None:
    target = tmp_path / "night.html"
    code, told = asked(tmp_path, "report", CAMPAIGN, "-o", str(target))
    assert code == 0 and str(target) in told
    before = Opened(target).told["chunks"].keys()
    code, told = asked(tmp_path, "report", CAMPAIGN, "-o", str(target))
    assert code == 2 and "--force" in told
    store.add_messages(
        CAMPAIGN, [NewMessage("a", "TextMessage", {"content": "b"})] * 200, round_number=None
    )
    assert asked(tmp_path, "report", CAMPAIGN, "-o", str(target), "--force")[0] == 0
    assert Opened(target).told["chunks"].keys() - before == {f"chat:{CAMPAIGN}:1"}


def test_an_unknown_campaign_is_told_with_those_there_are(
    tmp_path: Path, store: LineageStore
) -> None:
    for words in (["report", "nope"], ["replay", CAMPAIGN, "nope"]):
        code, told = asked(tmp_path, *words, "-o", str(tmp_path / "x.html"))
        assert code == 2 and f"valid: {CAMPAIGN}" in told
        assert not (tmp_path / "x.html").exists()


def test_replay_without_a_file_says_where_it_is(
    tmp_path: Path, store: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    code, told = asked(tmp_path, "replay")
    assert code == 0 and "no browser can be opened here" in told
    (made,) = tmp_path.glob("recipelab-replay-*/replay.html")
    assert made.as_uri() in told and Opened(made).told["mode"] == "replay"
    assert made.parent.stat().st_mode & 0o077 == 0


def test_the_campaign_of_a_strong_model_can_be_imported_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = Path(__file__).parents[2] / "examples/strong_campaign/airbench96.jsonl"
    for words in (["import", str(example), "--as", "strong"], ["replay", "strong", "-o", "r.html"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    page = Opened(tmp_path / "r.html")
    campaign = page.chunk("campaign:strong")
    assert (campaign["best"], campaign["certified"]) == (8, 8)
    assert campaign["certificates"][0]["status"] == "certified"
    trial = page.chunk("detail:strong:0")[8]
    assert trial["diff"] and trial["view"] and trial["chat"]
