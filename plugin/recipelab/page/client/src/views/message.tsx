// A message of the chat.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { time, whole } from "../format";
import { TrialLink } from "../parts";
import type { Call, Message } from "../types";

const LONG = 1200;

/** The hue of a speaker: always the same for a name. */
function hue(name: string): number {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.charCodeAt(0)) % 997;
  return sum % 8;
}

const SHORT = 160;

function brief(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > SHORT ? `${line.slice(0, SHORT)}…` : line;
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** A call of a tool, or what it answered. */
function CallLine({ call }: { call: Call }): JSX.Element {
  const [open, setOpen] = useState(false);
  const text = call.content ?? call.arguments ?? "";
  const answer = call.content !== undefined && call.content !== null;
  return (
    <li class="call">
      <button type="button" class="link" aria-expanded={open} onClick={() => setOpen(!open)}>{answer ? "← " : "→ "}{call.name}</button>{" "}
      {call.is_error && <b class="missed">error </b>}
      {open ? <pre class="plain" tabIndex={0} role="region" aria-label={`${answer ? "Answer of" : "Call of"} ${call.name}`}>{pretty(text)}</pre> : <code class="muted">{brief(text)}</code>}
    </li>
  );
}

export function Said({ message, campaign }: { message: Message; campaign: string }): JSX.Element {
  const [all, setAll] = useState(false);
  const long = message.text.length > LONG;
  const text = long && !all ? `${message.text.slice(0, LONG)}…` : message.text;
  const calls = message.payload?.calls ?? [];
  const usage = message.payload?.usage;
  const trials = message.trials ?? (message.trial === null ? [] : [message.trial]);
  return (
    <article class={`said hue-${hue(message.source)}`} aria-label={`${message.source}, message ${message.position}`}>
      <header>
        <b class="speaker">{message.source}</b>
        {!message.type.startsWith("Text") && !message.type.startsWith("ToolCall") && <span class="muted">{message.type}</span>}
        {trials.map((trial) => <TrialLink key={trial} campaign={campaign} number={trial} />)}
        {usage && usage.prompt_tokens + usage.completion_tokens > 0 && <span class="muted">{whole(usage.prompt_tokens)} + {whole(usage.completion_tokens)} tokens</span>}
        {message.round !== null && <span class="muted">round {message.round}</span>}
        <span class="spring" />
        <span class="muted">{time(message.created_at)}</span>
      </header>
      {text !== "" && <div class="text">{text}</div>}
      {calls.length > 0 && <ul class="calls">{calls.map((call, i) => <CallLine key={i} call={call} />)}</ul>}
      {long && <p class="more"><button type="button" class="link" aria-expanded={all} onClick={() => setAll(!all)}>{all ? "less" : "all of it"}</button></p>}
    </article>
  );
}
