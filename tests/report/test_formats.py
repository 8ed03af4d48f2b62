"""The review in its formats: it tells all that came of a trial, and no agent can forge a part."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from recipelab.core.errors import LineageError, RecipelabError
from recipelab.core.text import plain
from recipelab.lineage import LineageStore
from recipelab.report.transcript import Transcript, TranscriptFormat
from recipelab.report.transcript.formats import (
    Block,
    Code,
    Line,
    Quote,
    Span,
    Tone,
    heading,
    line,
    markdown,
    page,
)
from tests.report.conversation import CAMPAIGN, KEPT, Chat, propose, two_at_once

Told = Callable[..., str]


@pytest.fixture
def told(store: LineageStore) -> Told:
    """Renders the campaign of two specialists."""
    two_at_once(store)

    def render(kind: TranscriptFormat, **part: int) -> str:
        transcript = Transcript(store, store.campaign(CAMPAIGN), **part)
        if kind is not TranscriptFormat.TEXT:
            return "".join(transcript.pieces(kind))
        console = Console(file=StringIO(), width=120, force_terminal=True, highlight=False)
        with console.capture() as captured:
            transcript.show(console)
        return re.sub("\x1b\\[[0-9;]*m", "", captured.get())

    return render


@pytest.mark.parametrize(
    "kind", [TranscriptFormat.TEXT, TranscriptFormat.MARKDOWN, TranscriptFormat.HTML]
)
def test_a_review_tells_who_why_and_what_came_of_it(told: Told, kind: TranscriptFormat) -> None:
    text = re.sub(r"<[^>]+>|\*\*", "", told(kind)).replace("&#x27;", "'")
    for words in (
        "Round 1",
        "left (2,000 + 40 tokens",
        "trials found: 1 (1 baseline)",
        "error: LineageError: the lineage is locked",
        "recipe of trial 0: recipe/train.py; 0 knobs",
        "Proposes trial 1 on left, made from trial 0. Expected change: -1.5 points.",
        "Taken; it ended as kept.",
        "left's words",
        "+X = 2",
        "loss 31.5 ± 0.25 points; against the best -2 ± 0.12",
        "gate fit passed: 0.9, limit 0.2, margin +0.7",
        "failure: value in train",
        "ValueError: 3",
        "Not taken: it is rejected.",
        "the text to replace is not there",
    ):
        assert words in text, words
    assert text.index("Proposes trial 2") < text.index("gate fit") < text.index("ValueError: 3")


@pytest.mark.parametrize(
    "kind", [TranscriptFormat.TEXT, TranscriptFormat.MARKDOWN, TranscriptFormat.HTML]
)
def test_nothing_said_can_steer_a_terminal(told: Told, kind: TranscriptFormat) -> None:
    text = told(kind)
    assert plain(text) == text
    assert "alert(1)" in text


def test_a_trial_is_told_with_its_turn_and_its_report_alone(told: Told) -> None:
    text = told(TranscriptFormat.MARKDOWN, trial=1)
    assert re.findall("^### .*", text, re.MULTILINE)[0].startswith("### left")
    assert "I submitted one." in text
    assert "near_misses" not in text
    assert "**Trial 1** (left by left): **kept**" in text
    rejected = told(TranscriptFormat.MARKDOWN, trial=3)
    assert "It was rejected." in rejected
    assert "I submitted one." not in rejected


def test_a_trial_that_ended_in_a_later_round_is_reported_from_there(
    store: LineageStore, told: Told
) -> None:
    chat = Chat(store, store.start_round(CAMPAIGN))
    number = propose(store, "left", "slow", chat.round_number)
    chat.asks("left", "submit_trial", hypothesis="slow")
    chat.hears("left", {"trial": number, "status": "in_flight"})
    chat.tells("left", "It runs.")
    assert "Taken; it is **in flight**." in told(TranscriptFormat.MARKDOWN, trial=number)
    chat.round_number = store.start_round(CAMPAIGN)
    store.record(CAMPAIGN, number, KEPT)
    chat.tells("evaluator", "It has ended.", number)
    text = told(TranscriptFormat.MARKDOWN, trial=number)
    assert text.index("It runs.") < text.index(f"**Trial {number}** (left by left): **kept**")
    assert text.count("### ") == 2


def test_a_trial_that_nobody_spoke_of_is_told_from_the_lineage(told: Told) -> None:
    text = told(TranscriptFormat.MARKDOWN, trial=0)
    assert "No message of the group chat tells of this trial." in text
    assert "**baseline**" in text


@pytest.mark.parametrize("kind", list(TranscriptFormat))
def test_what_is_not_there_is_said(told: Told, kind: TranscriptFormat) -> None:
    with pytest.raises(LineageError, match="no trial 99; it has trials 0 to 3"):
        told(kind, trial=99)
    with pytest.raises(LineageError, match="no round 9; it has rounds 1 to 1"):
        told(kind, round_number=9)


def test_a_format_is_found_by_name_or_ending() -> None:
    from pathlib import Path

    from recipelab.report.transcript import format_of

    assert format_of("html", Path("a.md")) is TranscriptFormat.HTML
    assert format_of(None, Path("a.MD")) is TranscriptFormat.MARKDOWN
    assert format_of(None, None) is None
    with pytest.raises(RecipelabError, match="unknown format 'pdf'; valid: html, jsonl, markdown"):
        format_of("pdf", None)
    with pytest.raises(RecipelabError, match="give --format: text, markdown, html, jsonl"):
        format_of(None, Path("a.pdf"))


BLOCKS = ["\n", "\n\n", "# ", "- ", "1. ", "> ", "    ", "\t", "```", "~~~", "|", "---", "==="]
INLINES = ["`", "**", "*", "_", "[a]", "(b)", "[a]: /b", "![", "<b>", "<!--", "&amp;", "\\", "a"]
BITS = [*BLOCKS, *INLINES, "\r\n"]
TEXT = st.lists(st.sampled_from(BITS) | st.text(max_size=4), max_size=8).map("".join)
ALLOWED = {"heading", "paragraph", "inline", "blockquote", "fence", "bullet_list", "list_item"}
INLINE = {"text", "strong", "code_inline", "softbreak", "hardbreak", "text_special"}


def words(text: str) -> str:
    """The text without spaces and without what stands for control characters."""
    return "".join(plain(text).replace("\N{REPLACEMENT CHARACTER}", "").split())


@given(TEXT, TEXT, TEXT)
def test_markdown_shows_what_was_said_and_nothing_else(one: str, two: str, three: str) -> None:
    blocks: list[Block] = [
        heading(3, "x ", one),
        line(one, Span(f"n{two}", Tone.CODE), "."),
        line(Span("q"), three, is_item=True),
        Quote(two),
        Code(three, is_diff=True),
    ]
    parser = MarkdownIt("gfm-like", {"linkify": False})
    tokens = parser.parse("".join(markdown(blocks)))
    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}
    assert kinds <= ALLOWED
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h3"]
    leaves = [leaf for token in tokens for leaf in token.children or ()]
    assert {leaf.type.removesuffix("_open").removesuffix("_close") for leaf in leaves} <= INLINE
    shown = "".join(leaf.content for leaf in leaves)
    assert words(shown) == words(f"x{one}{one}n{two}.q{three}{two}")
    (fence,) = (token for token in tokens if token.type == "fence")
    assert words(fence.content) == words(three)


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXT)
def test_a_page_holds_text_and_no_tag_of_an_agent(text: str) -> None:
    blocks = [line(text, anchor=text), Quote(text), Code(text), Code(text, is_diff=True)]
    parser = Tags()
    parser.feed("".join(page(blocks, text)).partition("</style>")[2])
    parser.close()
    assert set(parser.tags) <= {"body", "p", "blockquote", "pre", "span"}
    assert words(parser.text) == words(text) * 4


def test_a_line_is_one_line() -> None:
    assert line("a\n# b\u2028c") == Line((Span("a # b c"),))
