"""The transcript of a campaign as Markdown, to be read as a review."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from recipelab.lineage import LineageStore, MessageRecord
from recipelab.shown import fenced, plain, short

ARGUMENT_CHARACTERS = 300
ANSWER_CHARACTERS = 500


def transcript(store: LineageStore, campaign: str, *, round_number: int | None = None) -> str:
    """Renders the messages of a campaign.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        round_number: Only this round; ``None`` for all.

    Returns:
        Markdown: who said what, which tools were asked, each trial's diff and outcome.
    """
    parts = [f"# Transcript of campaign {campaign}"]
    current: int | None = None
    for message in store.messages(campaign, round_number=round_number):
        if message.round != current:
            current = message.round
            parts.append(f"## Round {current}")
        parts += _rendered(store, campaign, message)
    return "\n\n".join(parts) + "\n"


def jsonl(messages: Iterable[MessageRecord]) -> str:
    """One JSON object a line: AutoGen's own dump of each message, which it reads back."""
    return "".join(json.dumps(message.payload, ensure_ascii=False) + "\n" for message in messages)


def _rendered(store: LineageStore, campaign: str, message: MessageRecord) -> list[str]:
    content = message.payload.get("content")
    if message.type == "ToolCallRequestEvent" and isinstance(content, list):
        return [line for call in content for line in _request(message.source, call)]
    if message.type == "ToolCallExecutionEvent" and isinstance(content, list):
        return [line for result in content for line in _answer(store, campaign, result)]
    return [f"**{message.source}**: {plain(str(content))}"]


def _request(source: str, call: dict[str, Any]) -> list[str]:
    try:
        arguments = json.loads(call["arguments"])
    except ValueError:
        arguments = {"(not JSON)": call["arguments"]}
    if not isinstance(arguments, dict):
        arguments = {"(no table)": arguments}
    told = ", ".join(
        f"{key}={short(json.dumps(value, ensure_ascii=False), ARGUMENT_CHARACTERS)}"
        for key, value in arguments.items()
        if key not in ("edits", "hypothesis")
    )
    lines = [f"**{source}** calls `{call['name']}` ({told})"]
    if "hypothesis" in arguments:
        lines.append(f"> {short(str(arguments['hypothesis']), 2_000)}")
    return lines


def _answer(store: LineageStore, campaign: str, result: dict[str, Any]) -> list[str]:
    name, text = result["name"], str(result["content"])
    try:
        table = json.loads(text)
    except ValueError:
        table = {}
    if result.get("is_error") or not isinstance(table, dict) or not table:
        return [f"`{name}` answers with an error: {short(text, ANSWER_CHARACTERS)}"]
    if name == "submit_trial" and "trial" in table:
        diff = store.trial(campaign, int(table["trial"])).diff
        told = f"Trial {table['trial']} is {table.get('status')}. {table.get('reason', '')}".strip()
        return [plain(told), fenced(diff, "diff")] if diff else [plain(told)]
    return [f"`{name}` answers: {short(_summary(name, table), ANSWER_CHARACTERS)}"]


def _summary(name: str, table: dict[str, Any]) -> str:
    if name == "lineage_query":
        rows = table.get("trials", [])
        told = "; ".join(f"{row['trial']} {row['status']}" for row in rows[:20])
        return f"{table.get('total')} trials match ({told or 'none'}); counts {table.get('counts')}"
    if name == "read_recipe":
        files = ", ".join(table.get("files", {}))
        return f"recipe of trial {table.get('trial')}: {files}; {len(table.get('knobs', []))} knobs"
    if name == "check_edit":
        return "ok" if table.get("ok") else f"not ok: {table.get('reason')}"
    return json.dumps(table, ensure_ascii=False)
