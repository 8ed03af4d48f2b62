"""A server of OpenAI's chat completions that passes calls on, replays them, or has them answered.

It stands between a campaign and a model, and writes a line of JSON for each call: who asked, how
long the context was, and what was answered.

    python benchmarks/model_bridge.py --port 8600 --record calls.jsonl --by-hand FOLDER

``--by-hand`` lets anybody sit in the model's seat: ``FOLDER/q/0001.txt`` has what is new in the
conversation of the first call, ``0001.json`` all of it, and the server waits for
``FOLDER/a/0001.json``: ``{"tool": NAME, "args": {...}}``, ``{"content": TEXT}``, or for several
calls ``{"tools": [...]}``. ``--replay FILE`` answers the n-th call of a specialist as recorded, and
``--forward URL`` asks another server.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

_CHARTER = re.compile(r"# Your surfaces \(.*?^# Your charter: ([^\n]+)$", re.MULTILINE | re.DOTALL)
_POLL_SECONDS = 0.2

Message = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A call of a model, and its answer.

    Attributes:
        request: Its number in the campaign, from 1.
        specialist: Title of the charter that asked; empty for anybody else.
        turn: Number of the specialist's turn, from 1.
        messages: Messages of its context.
        chars: Characters of these.
        schema_chars: Characters of the tools' schemas.
        answer: What was answered: ``content``, and ``tools`` with their arguments.
        seconds: How long that took.
        new_chars: Characters behind what this call shares with the last call of any specialist:
            schemas and messages from the beginning on, as far as they are the same. A provider
            that caches prefixes need read no more than these. ``None`` in old recordings.
        parts: Characters of each part of the context: schemas, rules, recipe, charter, view, chat,
            what the model said by tool, and what tools answered. Empty in old recordings.
    """

    request: int
    specialist: str
    turn: int
    messages: int
    chars: int
    schema_chars: int
    answer: dict[str, Any]
    seconds: float
    new_chars: int | None = None
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def tools(self) -> list[str]:
        """Names of the tools that were called."""
        return [call["tool"] for call in self.answer.get("tools", ())]


def read_calls(file: Path) -> list[Call]:
    """Return the calls that were recorded in a file.

    Raises:
        ValueError: A line is not a call; the message names it.
    """
    calls = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            calls.append(Call(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file}:{number}: not a recorded call: {error}") from None
    return calls


class Model(Protocol):
    """Whoever answers."""

    def answer(self, number: int, specialist: str, body: dict[str, Any], new: str) -> Message:
        """Return the answer to a call: ``content``, and ``tools``.

        Args:
            number: Number of the call.
            specialist: Who asks.
            body: The request.
            new: What is new in the conversation, to be read by people.
        """
        ...


class Replayed:
    """Answers the n-th call of a specialist as it was answered before.

    Args:
        calls: The recorded calls.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self._answers: defaultdict[str, list[Message]] = defaultdict(list)
        for call in reversed(calls):
            self._answers[call.specialist].append(call.answer)

    def answer(self, number: int, specialist: str, body: dict[str, Any], new: str) -> Message:
        """See :meth:`Model.answer`; whoever has no recorded answer left passes."""
        left = self._answers[specialist]
        return left.pop() if left else {"content": "I have nothing to propose."}


class ByHand:
    """Has calls answered through files.

    Args:
        folder: Folder of the questions and answers.
    """

    def __init__(self, folder: Path) -> None:
        self._questions, self._answers = folder / "q", folder / "a"
        for each in (self._questions, self._answers):
            each.mkdir(parents=True, exist_ok=True)

    def answer(self, number: int, specialist: str, body: dict[str, Any], new: str) -> Message:
        """See :meth:`Model.answer`; waits until somebody has answered."""
        everything = json.dumps(body, indent=1, ensure_ascii=False)
        (self._questions / f"{number:04}.json").write_text(everything, encoding="utf-8")
        (self._questions / f"{number:04}.txt").write_text(new, encoding="utf-8")
        file = self._answers / f"{number:04}.json"
        while True:
            try:
                given: Message = json.loads(file.read_text(encoding="utf-8"))
                break
            except (OSError, ValueError):  # Not there yet, or half written.
                time.sleep(_POLL_SECONDS)
        if "tool" in given:
            given = {"tools": [{"tool": given["tool"], "args": given.get("args", {})}]}
        return given


class Forwarded:
    """Asks another server.

    Args:
        url: Its address, with ``/v1``.
        key: Its key.
    """

    def __init__(self, url: str, key: str = "none") -> None:
        self._url, self._key = url.rstrip("/"), key

    def answer(self, number: int, specialist: str, body: dict[str, Any], new: str) -> Message:
        """See :meth:`Model.answer`."""
        plain = {name: value for name, value in body.items() if name != "stream"}
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(
            f"{self._url}/chat/completions", json.dumps(plain).encode(), head
        )
        with urllib.request.urlopen(request) as response:
            said = json.loads(response.read())["choices"][0]["message"]
        tools = [
            {"tool": one["function"]["name"], "args": _arguments(one["function"]["arguments"])}
            for one in said.get("tool_calls") or ()
        ]
        return {"content": said.get("content"), **({"tools": tools} if tools else {})}


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Recorder:
    """Counts calls and turns, asks the model, and writes down what was said.

    A call belongs to the turn of an earlier call, of the same specialist, if that called tools and
    its messages begin with the same ones: a specialist may be in several turns at the same time. An
    answer without a tool call ends a turn.

    Args:
        model: Whoever answers.
        file: Where calls are written, a line each; ``None`` keeps them in memory alone.
    """

    def __init__(self, model: Model, file: Path | None = None) -> None:
        self.calls: list[Call] = []
        self._model = model
        self._file = file
        self._lock = threading.Lock()
        self._count = 0
        self._turns: defaultdict[str, int] = defaultdict(int)
        self._open: defaultdict[str, dict[int, list[str]]] = defaultdict(dict)
        self._sent: dict[str, str] = {}

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the chat completion for a request."""
        texts = [_readable(message) for message in body["messages"]]
        specialist = _specialist(body["messages"])
        with self._lock:
            self._count += 1
            number = self._count
            turns = self._open[specialist]
            begun = (
                which
                for which, last in turns.items()
                if len(texts) > len(last) and texts[: len(last)] == last
            )
            if (turn := next(begun, 0)) == 0:
                self._turns[specialist] += 1
                turn = self._turns[specialist]
            last = turns.get(turn, [])
            turns[turn] = texts
        tools = body.get("tools") or []
        schemas = json.dumps(tools)
        schema_chars = len(schemas)
        whole = "\n".join([schemas, *texts])
        with self._lock:
            shared = (_shared(sent, whole) for sent in self._sent.values())
            new_chars = len(whole) - max(shared, default=0)
            self._sent[specialist] = whole
        names = ", ".join(tool["function"]["name"] for tool in tools)
        size = sum(map(len, texts))
        head = f"call {number}, turn {turn} of {specialist}: {size} characters; tools: {names}"
        new = "\n".join([head, *texts[len(last) :]])
        began = time.monotonic()
        answer = self._model.answer(number, specialist, body, new)
        seconds = round(time.monotonic() - began, 1)
        call = Call(
            number,
            specialist,
            turn,
            len(texts),
            size,
            schema_chars,
            dict(answer),
            seconds,
            new_chars,
            {"schemas": schema_chars, **_parts(body["messages"], texts)},
        )
        with self._lock:
            if not call.tools:
                turns.pop(turn, None)
            self.calls.append(call)
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as file:
                    print(json.dumps(asdict(call), ensure_ascii=False), file=file)
        return _completion(call, body["model"])


def _specialist(messages: Sequence[Message]) -> str:
    """Return the title of the charter in a conversation, which is a message of its own."""
    found = (_CHARTER.match(str(message.get("content"))) for message in messages)
    return next((match[1].strip() for match in found if match), "")


_OPENINGS = {
    "## The recipe": "recipe and card",
    "## What a trial": "recipe and card",
    "# Your surfaces": "charter",
    "## The campaign": "view",
}
"""How the messages begin with which a turn opens, and what they are."""


def _parts(messages: Sequence[Message], texts: Sequence[str]) -> dict[str, int]:
    """Return the characters of the parts of a conversation, by name."""
    parts: Counter[str] = Counter()
    tools: dict[str, str] = {}
    for message, text in zip(messages, texts, strict=True):
        role, content = message["role"], str(message.get("content") or "")
        calls = message.get("tool_calls") or ()
        tools |= {call["id"]: call["function"]["name"] for call in calls}
        if role == "user":
            known = (name for start, name in _OPENINGS.items() if content.startswith(start))
            name = next(known, "chat")
        elif role == "assistant":
            for call in calls:
                parts[f"calls of {tools[call['id']]}"] += len(call["function"]["arguments"])
                text = text.replace(call["function"]["arguments"], "", 1)
            name = "words of the model"
        elif role == "tool":
            name = f"answers of {tools.get(str(message.get('tool_call_id')), 'a tool')}"
        else:
            name = "rules and pack"
        parts[name] += len(text)
    return dict(parts)


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts have in common, from the first one on."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _readable(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(part.get("text", "") for part in content)
    lines = [f"--- {message['role']} {message.get('name', '')}".rstrip(), content or ""]
    for call in message.get("tool_calls") or ():
        lines.append(f"[calls {call['function']['name']}({call['function']['arguments']})]")
    return "\n".join(lines)


def _completion(call: Call, model: str) -> dict[str, Any]:
    """Return an answer in the form of the server; four characters are counted as a token."""
    message: Message = {"role": "assistant", "content": call.answer.get("content")}
    if tools := call.answer.get("tools"):
        message["tool_calls"] = [
            {
                "id": f"call_{call.request}_{place}",
                "type": "function",
                "function": {"name": one["tool"], "arguments": json.dumps(one.get("args", {}))},
            }
            for place, one in enumerate(tools)
        ]
    prompt = (call.chars + call.schema_chars) // 4
    completion = len(json.dumps(call.answer)) // 4
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}
    return {
        "id": f"call-{call.request}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": {**usage, "total_tokens": prompt + completion},
    }


@contextmanager
def serving(recorder: Recorder, port: int = 0) -> Iterator[str]:
    """Serve on this machine while the context lasts, and give the address with ``/v1``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": "strong", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(recorder.complete(body))

        def _send(self, table: dict[str, Any]) -> None:
            data = json.dumps(table).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()


def model_of(args: argparse.Namespace) -> Model:
    """Return the model that the options name."""
    if args.by_hand is not None:
        return ByHand(args.by_hand)
    if args.replay is not None:
        return Replayed(read_calls(args.replay))
    return Forwarded(args.forward, args.key)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who answers, and where calls are recorded."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--by-hand", type=Path, metavar="FOLDER", help="answered through files")
    who.add_argument("--replay", type=Path, metavar="FILE", help="answered as recorded")
    who.add_argument("--forward", metavar="URL", help="answered by another server")
    parser.add_argument("--key", default="none", help="key of that server")
    parser.add_argument("--record", type=Path, metavar="FILE", help="where calls are written")


def main() -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    add_options(parser)
    args = parser.parse_args()
    with serving(Recorder(model_of(args), args.record), args.port) as url:
        print(f"recipelab run PACK --model openai:strong --base-url {url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
