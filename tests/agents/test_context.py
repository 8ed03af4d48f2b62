"""The context of a turn: within its bound, and never a result without its call."""

from __future__ import annotations

from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    UserMessage,
)
from hypothesis import given
from hypothesis import strategies as st

from recipelab.agents.context import LEFT_OUT, TurnContext, trimmed


def exchange(number: int, size: int) -> list[LLMMessage]:
    """A call and its result, of so many characters together."""
    call = FunctionCall(id=str(number), name="lineage_query", arguments="a" * (size // 2))
    result = FunctionExecutionResult(
        call_id=str(number), name="lineage_query", content="r" * (size - size // 2)
    )
    return [
        AssistantMessage(content=[call], source="left"),
        FunctionExecutionResultMessage(content=[result]),
    ]


def call_ids(messages: list[LLMMessage]) -> list[str]:
    """The ids of calls and results, in order."""
    ids = []
    for message in messages:
        if isinstance(message, AssistantMessage) and isinstance(message.content, list):
            ids += [call.id for call in message.content]
        elif isinstance(message, FunctionExecutionResultMessage):
            ids += [result.call_id for result in message.content]
    return ids


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(0, 1_000))
def test_the_oldest_exchanges_go_as_a_whole(sizes: list[int], bound: int) -> None:
    task = UserMessage(content="t" * 50, source="user")
    messages: list[LLMMessage] = [task]
    for number, size in enumerate(sizes):
        messages += exchange(number, size)
    kept = trimmed(messages, bound)
    assert kept[0] == task
    ids = call_ids(kept)
    assert (
        ids[::2] == ids[1::2] == [str(n) for n in range(len(sizes))][len(sizes) - len(ids) // 2 :]
    )
    assert not sizes or len(ids) >= 2
    left = sizes[len(sizes) - len(ids) // 2 :]
    assert 50 + sum(left) <= bound or len(left) <= 1
    # No more is left out than has to be.
    more = sizes[len(sizes) - len(left) - 1 :]
    assert len(left) == len(sizes) or 50 + sum(more) > bound
    notes = [m for m in kept if isinstance(m, UserMessage) and m.content == LEFT_OUT]
    assert len(notes) == (len(left) < len(sizes))


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=4), st.integers(20_000, 60_000))
def test_results_that_do_not_fit_alone_are_cut_the_longest_first(
    sizes: list[int], bound: int
) -> None:
    calls = [FunctionCall(id=str(n), name="read", arguments="{}") for n in range(len(sizes))]
    results = [
        FunctionExecutionResult(call_id=call.id, name="read", content="r" * size)
        for call, size in zip(calls, sizes, strict=True)
    ]
    _, message = trimmed(
        [
            AssistantMessage(content=calls, source="left"),
            FunctionExecutionResultMessage(content=results),
        ],
        bound,
    )
    assert isinstance(message, FunctionExecutionResultMessage)
    shown = [result.content for result in message.content]
    assert sum(map(len, shown)) <= max(bound, sum(min(size, 4_020) for size in sizes))
    cut = [n for n, text in enumerate(shown) if text != results[n].content]
    assert bool(cut) == (sum(sizes) + 2 * len(sizes) > bound and max(sizes) > 4_000)
    assert all("more characters do not fit" in shown[n] for n in cut)
    # None that is cut is shorter than one that is not.
    assert all(sizes[n] >= len(shown[m]) for n in cut for m in range(len(sizes)) if m not in cut)


async def test_a_view_is_of_the_moment_when_the_model_is_first_called() -> None:
    moment = ["too early"]
    context = TurnContext(lambda: (moment[0],))
    await context.begin_turn()
    moment[0] = "now"
    assert [message.content for message in await context.get_messages()] == ["now"]
    moment[0] = "later"
    assert [message.content for message in await context.get_messages()] == ["now"]


async def test_a_turn_begins_with_a_new_view_and_without_the_last_turn() -> None:
    views = iter(["first view", "second view", ""])
    context = TurnContext(lambda: (next(views),))
    for view in ("first view", "second view"):
        await context.begin_turn()
        await context.add_message(UserMessage(content="Go.", source="user"))
        texts = [message.content for message in await context.get_messages()]
        assert texts == [view, "Go."]
    await context.begin_turn()
    assert await context.get_messages() == []
