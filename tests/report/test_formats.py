"""The review in its formats: it tells all that came of a trial, and no agent can forge a part."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from recipelab.core.errors import LineageError, RecipelabError
from recipelab.core.text import plain
from recipelab.lineage import LineageStore, NewMessage
from recipelab.report.transcript import Transcript, TranscriptFormat
from recipelab.report.transcript.markdown import (
    code,
    code_block,
    document,
    heading,
    item,
    joined,
    paragraph,
    quiet,
    quote,
    strong,
)
from recipelab.report.transcript.rendering import html_page, show_review
from tests.report.conversation import CAMPAIGN, EVIL, KEPT, Chat, propose, two_at_once

Told = Callable[..., str]


@pytest.fixture
def told(store: LineageStore) -> Told:
    """Renders the campaign of two specialists."""
    two_at_once(store)

    def render(kind: TranscriptFormat, **part: Any) -> str:
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
    text = re.sub(r"<[^>]+>|\*", "", told(kind)).replace("&#x27;", "'")
    for words in (
        "Round 1",
        "left (2,000 + 40 tokens",
        "trials found: 1 (1 baseline)",
        "error: LineageError: the lineage is locked",
        "recipe of trial 0: recipe/train.py; knobs: 1",
        "Proposes trial 1 on left, made from trial 0. Expected change: -1.5 points.",
        "It ended as kept, untested.",
        "left's words",
        "+X = 2",
        "loss 31.5 ± 0.25 points; against the best -2 ± 0.12",
        "gate fit passed: 0.9, limit 0.2, margin +0.7",
        "failure: value in train",
        "ValueError: 3",
        "It was rejected at once.",
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
    assert "**Trial 1** *(left by left)*: **kept, untested**" in text
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
    assert "It is **in flight**." in told(TranscriptFormat.MARKDOWN, trial=number)
    chat.round_number = store.start_round(CAMPAIGN)
    store.record(CAMPAIGN, number, KEPT)
    chat.tells("evaluator", "It has ended.", number)
    text = told(TranscriptFormat.MARKDOWN, trial=number)
    assert text.index("It runs.") < text.index(
        f"**Trial {number}** *(left by left)*: **kept, untested**"
    )
    assert text.count("### ") == 2


@pytest.mark.parametrize(
    "kind", [TranscriptFormat.TEXT, TranscriptFormat.MARKDOWN, TranscriptFormat.HTML]
)
def test_what_a_turn_was_shown_is_told_once_where_it_is_asked_for(
    store: LineageStore, told: Told, kind: TranscriptFormat
) -> None:
    for _ in range(2):
        turn = store.add_turn(CAMPAIGN, "left", view=f"# All\n{EVIL}", round_number=1)
        message = NewMessage("left", "TextMessage", {"content": "I pass."}, turn=turn)
        store.add_messages(CAMPAIGN, [message], round_number=1)
    assert "alert(1)" not in told(kind, round_number=1).partition("I pass.")[2]
    text = told(kind, round_number=1, views=True)
    assert plain(text) == text
    hash = store.views(CAMPAIGN)[0].hash[:12]
    assert text.count(f"was shown ({hash})") == 1
    assert text.count(f"was shown what was shown before ({hash})") == 1
    if kind is TranscriptFormat.HTML:
        assert "<details><summary>" in text
        assert "<script" not in text


def test_a_trial_that_nobody_spoke_of_is_told_from_the_lineage(told: Told) -> None:
    text = told(TranscriptFormat.MARKDOWN, trial=0)
    assert "No message of the group chat is about this trial." in text
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
INLINE = {"text", "strong", "em", "code_inline", "softbreak", "hardbreak", "text_special"}


def words(text: str) -> str:
    """The text without spaces and without what stands for control characters."""
    return "".join(plain(text).replace("\N{REPLACEMENT CHARACTER}", "").split())


@given(TEXT, TEXT, TEXT)
def test_markdown_shows_what_was_said_and_nothing_else(one: str, two: str, three: str) -> None:
    blocks = [
        heading(3, "x ", one),
        paragraph(one, code(f"n{two}"), "."),
        item("q", three),
        paragraph(strong(f"s{one}s"), " ", quiet(f"({two})"), ": ", three),
        quote(two),
        code_block(three, "diff"),
    ]
    parser = MarkdownIt("gfm-like", {"linkify": False})
    tokens = parser.parse("".join(document([joined(blocks)])))
    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}
    assert kinds <= ALLOWED
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h3"]
    leaves = [leaf for token in tokens for leaf in token.children or ()]
    assert {leaf.type.removesuffix("_open").removesuffix("_close") for leaf in leaves} <= INLINE
    assert [leaf.type for leaf in leaves].count("strong_open") == 1
    assert [leaf.type for leaf in leaves].count("em_open") == 1
    shown = "".join(leaf.content for leaf in leaves)
    assert words(shown) == words(f"x{one}{one}n{two}.q{three}s{one}s({two}):{three}{two}")
    (fence,) = (token for token in tokens if token.type == "fence")
    assert words(fence.content) == words(three)


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXT)
def test_a_page_holds_text_and_no_tag_of_an_agent(text: str) -> None:
    blocks = [paragraph("p", text), quote(text), code_block(text), code_block(text, "diff")]
    parser = Tags()
    parser.feed("".join(html_page([joined(blocks)], text)).partition("</style>")[2])
    parser.close()
    assert set(parser.tags) <= {"body", "p", "br", "blockquote", "pre", "span"}
    assert parser.attributes <= {"class"}
    assert words(parser.text) == "p" + words(text) * 4


@given(TEXT)
def test_the_pages_parser_has_no_links_even_if_nothing_is_escaped(text: str) -> None:
    parser = Tags()
    parser.feed(
        "".join(html_page([text, "[a](http://b) <b>c</b> ![d](e)"], "t")).split("</style>")[1]
    )
    parser.close()
    assert not {"a", "img", "b", "script", "table"} & set(parser.tags)


@given(TEXT)
def test_a_terminal_is_shown_what_was_said(text: str) -> None:
    blocks = [paragraph("p", text), quote(text), code_block(text)]
    console = Console(file=StringIO(), width=500, highlight=False)
    with console.capture() as captured:
        show_review([joined(blocks)], console)
    shown = captured.get()
    assert plain(shown) == shown
    assert words(shown.replace("▌", "")) == "p" + words(text.replace("▌", "")) * 3


def test_words_that_tell_how_it_ended_have_their_color(told: Told) -> None:
    page = told(TranscriptFormat.HTML)
    assert '<strong class="good">kept, untested</strong>' in page
    assert '<strong class="good">passed</strong>' in page
    assert '<strong class="bad">crashed</strong>' in page
    assert '<strong class="bad">error</strong>' in page
    assert '<p id="trial-1">Proposes <strong>trial 1</strong>' in page
    assert '<span class="good">+X = 2</span>' in page


def test_a_line_is_one_line() -> None:
    assert paragraph("a\n# b\u2028c") == "a # b c"
