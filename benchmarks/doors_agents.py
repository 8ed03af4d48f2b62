"""Malformed tool calls and answers of a model for :mod:`doors`: what a specialist's turn meets.

The workbench, the stack of clients, the specialist, the queue and the lineage are the real ones;
trials are judged by a stub, as none is to be trained here.
"""

# Tables of hostile text.
# ruff: noqa: E501

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import logging
import math
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any

from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, TextMessage
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, RequestUsage
from doors_files import hostile_value
from doors_patches import TRAIN, hostile_texts
from stubs import StubEvaluator

from recipelab.agents import Specialist, load_charter
from recipelab.agents.specialist import FAULT, workbench_of
from recipelab.budget import BudgetLimits, Ledger
from recipelab.core import errors
from recipelab.core.recipe import MAX_FILE_CHARACTERS
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore, NewMessage
from recipelab.models import (
    HandedOnClient,
    JsonRepairClient,
    MeteredClient,
    OfflineClient,
    Prices,
    RetryingClient,
    ThinkingClient,
    WholeAnswerClient,
)
from recipelab.models.wrappers import MAX_ANSWER
from recipelab.packs.pack import Pack
from recipelab.tools.names import TOOLS

Make = Callable[[], Any]

REFUSALS = {"LookupError", "SandboxError"} | {
    name for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.RecipelabError)
}  # fmt: skip
"""Errors that recipelab raises on purpose: ``LookupError`` for an unknown tool, ``SandboxError`` as
the stub's sandbox was never started."""

MOST_CHARACTERS = 400_000
"""Of an answer to a model."""

TURN_CALLS = 3
"""Answers of a model in a turn, before it says that it is done."""

SOUND: Mapping[str, Mapping[str, Any]] = {
    "submit_trial": {
        "parent": 0,
        "hypothesis": "Nearer to the bottom.",
        "expected_delta": -1.0,
        "edits": [],
    },
    "check_edit": {"parent": 0, "edits": []},
    "turn_knob": {
        "knob": "X",
        "value": 2.0,
        "hypothesis": "Nearer to the bottom.",
        "expected_delta": -1.0,
    },
    "more_seeds": {"trial": 0, "hypothesis": "Was it luck or is it better?"},
    "wait_for": {"trial": 0, "seconds": 1},
    "read_recipe": {"trial": 0, "path": TRAIN, "from_line": 1},
    "search_recipe": {"text": "X", "trial": 0},
    "lineage_query": {"status": ["kept"], "limit": 5, "offset": 0},
    "lineage_trial": {"trial": 0},
}
"""Arguments that are sound, or nearly so, for tools whose arguments are then broken."""

WORDS = (
    "parent",
    "check",
    "edits",
    "path",
    "search",
    "replace",
    "trial",
    "limit",
    "offset",
    "text",
    "value",
    "surface",
    "go_on",
    "status",
    "of",
    "",
    "\ud800",
)
FORMS = (
    "{text}", "```json\n{text}\n```", "```json\n{text}", "{text},", "[{text}]", "{text}{text}", "<tool_call>{text}</tool_call>",
    "{text} I hope that helps.", "\ufeff{text}", "\x00{text}", "'{text}'", "({text})",
)  # fmt: skip
"""How a model may write the JSON of its arguments."""

DEEP = (
    "[" * 200_000, '{"a":' * 50_000, "{" * 3_000_000, '{"parent":' + "9" * 5_000 + "}", '{"parent":1e400}',
    '{"parent":NaN}', '{"edits":[' * 2_000, "-" * 100_000, "(" * 100_000, "{'a':" * 90_000, '{"a":"\\ud800"}', '"' * 99_999,
    "{'parent': b'x'}", "{'parent': {1, 2}}", "{'parent': 1j}", "{1: 2}", "{None: 2}", "{(1, 2): 3}", "null", "7", "[]", '"x"', "true",
    '{"parent": 0, "parent": [0]}', "lambda: 0", "f'{0}'", "__import__('os')", "{'a': " + "f" * 500_000, "\\" * 90_000,
)  # fmt: skip
"""Arguments that are deep, long, or no table at all."""

THINKING = (
    "<think>",
    "</think>",
    "<think></think>",
    "<think>" * 20_000,
    "a</think>b</think>c",
    "<think>\ud800",
    "<THINK>",
)


def texts(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield hostile texts for ever, out of a few hundred: it takes long to make them."""
    made = list(itertools.islice(hostile_texts(rng), 400))
    while True:
        yield rng.choice(made)


def edit_of(rng: random.Random, text: str) -> Any:
    """Return an edit, sound or broken."""
    way = rng.randrange(8)
    if way == 0:
        return hostile_value(rng)
    edit: dict[str, Any] = {"path": TRAIN, "search": "X = 1.0", "replace": f"X = {rng.random()}"}
    if way < 4:
        edit[rng.choice(("path", "search", "replace", "more"))] = hostile_value(rng)
    elif way < 7:
        edit = {"path": TRAIN, "replace": text[:MAX_FILE_CHARACTERS]}
        if way == 5:
            edit["search"] = text[: rng.choice((0, 1, 40, 9_000))]
    return edit


def arguments_of(rng: random.Random, name: str, text: str) -> Any:
    """Return the arguments of a call, with some of them broken."""
    table: Any = copy.deepcopy(dict(SOUND.get(name, {})))
    if "edits" in table or rng.random() < 0.1:
        table["edits"] = [edit_of(rng, text) for _ in range(rng.choice((0, 1, 1, 1, 2, 30)))]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        key = rng.choice((*table, *WORDS)) if rng.random() < 0.3 else rng.choice((*table, "check"))
        value = hostile_value(rng)
        match rng.randrange(5):
            case 0:
                table.pop(key, None)
            case 1:
                table[key] = json.dumps(value, default=str)
            case 2:
                table[key] = [table.get(key), value]
            case _:
                table[key] = value
    return table if rng.random() < 0.95 else hostile_value(rng)


def names(rng: random.Random) -> str:
    """Return the name of a tool; now and then of none that there is."""
    if rng.random() < 0.06:
        return str(
            rng.choice(
                (
                    "",
                    " ",
                    "submit",
                    "functions.submit_trial",
                    "\ud800",
                    "a" * 9_000,
                    "../x",
                    "None",
                    "run_python",
                )
            )
        )
    return rng.choice((*SOUND, *TOOLS, "submit_trial", "check_edit", "check_edit"))


def calls(rng: random.Random) -> Iterator[tuple[str, Make]]:
    """Yield the name and the arguments of tool calls for ever, each with the name of its family."""
    for family, text in texts(rng):
        name = names(rng)
        given = arguments_of(rng, name, text)
        made = (name, given if isinstance(given, Mapping) else {"arguments": given})
        family = family if "edits" in made[1] else "arguments"
        yield f"{name[:20]!r}, {family}", lambda made=made: made  # type: ignore[misc]


def call_of(rng: random.Random, text: str) -> Any:
    """Return a tool call of an answer, as a client may hand it on."""
    name = names(rng)
    written = json.dumps(
        arguments_of(rng, name, text), default=str, ensure_ascii=rng.random() < 0.5
    )
    match rng.randrange(6):
        case 0:
            written = rng.choice(FORMS).replace("{text}", written)
        case 1:
            written = rng.choice(DEEP)
        case 2:
            written = written[: rng.randrange(len(written) + 1)]
    odd = rng.random()
    if odd < 0.03:
        return hostile_value(rng)
    if odd < 0.08:
        fields = {"id": "c1", "name": name, "arguments": written}
        key = rng.choice(tuple(fields))
        return FunctionCall(**{**fields, key: hostile_value(rng)})
    return FunctionCall(
        id=rng.choice(("c1", "c1", "c2", "", "\ud800")), name=name, arguments=written
    )


def usage_of(rng: random.Random) -> Any:
    """Return what an answer says it took; rarely what it should."""
    if rng.random() < 0.7:
        return RequestUsage(
            prompt_tokens=rng.randrange(2_000), completion_tokens=rng.randrange(500)
        )
    odd = (None, -1, 2**63, 2**70, 10**400, math.nan, math.inf, -math.inf, 0.5, "7", [], {})
    made = RequestUsage(prompt_tokens=rng.choice(odd), completion_tokens=rng.choice(odd))  # type: ignore[arg-type]
    return rng.choice((made, made, made, None, {}, "none"))


def reply(rng: random.Random, text: str) -> Any:
    """Return an answer as a provider's client may hand it on."""
    content: Any = [call_of(rng, text) for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 40)))]
    thought: Any = None
    match rng.randrange(10):
        case 0:
            content = rng.choice((*THINKING, text, "x" * 3_000_000, "\ud800", "", " ", "\x00"))
        case 1:
            content = rng.choice(THINKING) + text[:2_000] + rng.choice(THINKING)
        case 2:
            content = rng.choice(
                (None, 7, {}, {"content": "x"}, b"x", (), math.nan, [[]], ["x"], [None])
            )
        case 3 | 4:
            thought = rng.choice((*THINKING, text, "x" * 3_000_000, "", "\ud800", 7, ["x"]))
    reason = rng.choice(("stop", "length", "function_calls", "content_filter", "unknown"))
    fields: dict[str, Any] = {
        "finish_reason": reason if rng.random() < 0.9 else hostile_value(rng),
        "content": content, "usage": usage_of(rng), "cached": rng.choice((False, False, True, None)),
        "thought": thought, "logprobs": None,
    }  # fmt: skip
    if rng.random() < 0.05:
        del fields[rng.choice(tuple(fields))]
    # Clients make these without a check where they copy or build them from what a server sent.
    return CreateResult.model_construct(**fields) if rng.random() < 0.98 else hostile_value(rng)


def replies(rng: random.Random) -> Iterator[tuple[str, Make]]:
    """Yield the answers of a model in a turn for ever, each with the name of its family."""
    for family, text in texts(rng):
        made = [reply(rng, text) for _ in range(rng.randint(1, TURN_CALLS))]
        kinds = {type(getattr(one, "content", None)).__name__ for one in made}
        yield f"{'+'.join(sorted(kinds))}, {family}", lambda made=made: made  # type: ignore[misc]


class ScriptedClient(OfflineClient):
    """Hands on prepared answers, then says that it is done."""

    def __init__(self, answers: Sequence[Any], pieces: Sequence[Any] = ()) -> None:
        super().__init__()
        self._answers = list(answers)
        self._pieces = pieces

    def _next(self) -> Any:
        usage = RequestUsage(prompt_tokens=1, completion_tokens=1)
        done = CreateResult(finish_reason="stop", content="Done.", usage=usage, cached=False)
        return self._answers.pop(0) if self._answers else done

    async def create(self, *messages: Any, **further: Any) -> Any:
        """Return the next answer."""
        return self._next()

    async def create_stream(self, *messages: Any, **further: Any) -> AsyncGenerator[Any, None]:
        """Yield pieces of text, and the next answer."""
        for piece in self._pieces:
            yield piece
        yield self._next()


class AgentDoors:
    """A campaign whose specialist is given what a model may send.

    Args:
        store: The lineage.
        pack: The pack.
        rng: Draws whether answers are streamed.
    """

    def __init__(self, store: LineageStore, pack: Pack, rng: random.Random) -> None:
        self._store, self._pack, self._rng = store, pack, rng
        self._runner = asyncio.Runner()
        # Each turn that fails is told; here most of them fail.
        logging.getLogger("recipelab").setLevel(logging.ERROR)
        self._number = self._tries = 0
        self._begin()

    def _begin(self) -> None:
        """Begin a new campaign, as the trials of the last one make every look at it longer."""
        self._number += 1
        name = f"agents{self._number}"
        self._store.create_campaign(
            name=name, pack="toy", profile="mini", model="stub", sandbox="stub",
            seed=0, trials=None, hours=None, settings={},
        )  # fmt: skip
        evaluator: Any = StubEvaluator(self._pack, slots=4)
        self._ledger = Ledger(self._store, name, BudgetLimits())
        self.queue = TrialQueue(self._store, name, evaluator, slots=4, ledger=self._ledger)
        self._store.start_round(name)
        self._charter = load_charter("left")
        self._runner.run(self._judge_baseline())

    async def _judge_baseline(self) -> None:
        self.queue.propose_baseline()
        await self._drain()

    async def _drain(self) -> None:
        while self.queue.in_flight:
            await self.queue.next_ended()

    def try_call(self, make: Make) -> None:
        """Try a call of a tool; raise what it was refused with."""
        self._renew()
        self._runner.run(self._call(*make()))

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> None:
        bench = workbench_of(self._charter, self.queue, (), 1)
        bench.turn.has_asked = True
        result = await bench.call_tool(name, arguments)
        await self._drain()
        text = check_words(result.to_text())
        if result.is_error:
            check_kind(text)
            raise errors.RecipelabError(text)

    def try_reply(self, make: Make) -> None:
        """Try the answers of a model in a turn; raise the words that ended it."""
        self._renew()
        self._runner.run(self._turn(make()))

    async def _turn(self, answers: Sequence[Any]) -> None:
        streams = self._rng.random() < 0.3
        pieces = [self._rng.choice(("a", "", "\ud800", "<think>"))] if streams else []
        client = stack(ScriptedClient(answers, pieces), self._ledger)
        agent = Specialist(
            self._charter, client, self._pack, self.queue,
            round_number=1, model_client_stream=streams,
        )  # fmt: skip
        ask = [TextMessage(content="Go on.", source="user")]
        said: list[BaseAgentEvent | BaseChatMessage | Response] = [
            item async for item in agent.on_messages_stream(ask, CancellationToken())
        ]
        await self._drain()
        last = said[-1]
        assert isinstance(last, Response), last
        text = check_words(last.chat_message.to_text(), MAX_ANSWER)
        messages = [item.chat_message if isinstance(item, Response) else item for item in said]
        # As the campaign writes them down.
        written = [NewMessage(one.source, type(one).__name__, one.dump()) for one in messages]
        self._store.add_messages(self.queue.campaign, written, round_number=None)
        for message in messages:
            check_results(message)
        fault = last.chat_message.metadata.get(FAULT)
        if fault is not None:
            assert fault == "ModelError", f"{fault}: {text}"
            raise errors.RecipelabError(text)

    def _renew(self) -> None:
        self._tries += 1
        if self._tries % 500 == 0:
            self._begin()


def stack(client: ChatCompletionClient, ledger: Ledger) -> ChatCompletionClient:
    """Return the client of a specialist as :class:`recipelab.team.participants.Participants` does."""
    repaired = JsonRepairClient(ThinkingClient(HandedOnClient(client)))
    metered = MeteredClient(
        RetryingClient(repaired, most_seconds=0.0), lambda: ledger,
        specialist="left", model="openai:stub", prices=Prices(),
    )  # fmt: skip
    return WholeAnswerClient(metered)


def check_words(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text that goes to a model, if a request can carry it."""
    text.encode("utf-8")
    assert len(text) <= most, f"{len(text)} characters"
    return text


def check_results(item: Any) -> None:
    """Check the answers to the calls in an event of a turn."""
    for one in getattr(item, "content", None) or ():
        if hasattr(one, "is_error"):
            check_words(one.content)
            if one.is_error:
                check_kind(one.content)


def check_kind(text: str) -> None:
    """Check that an error which a model is told is one that recipelab raises on purpose."""
    kind = text.partition(":")[0]
    # ``Error`` alone is what AutoGen tells of a tool that there is not.
    is_error = kind.isidentifier() and kind.endswith(("Error", "Exception", "Iteration"))
    assert kind == "Error" or not is_error or kind in REFUSALS, text[:300]
