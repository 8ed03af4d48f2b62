// A message of the chat.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { time } from "../format";
import { TrialLink } from "../parts";
import type { Message } from "../types";

const LONG = 1200;

/** The hue of a speaker: always the same for a name. */
function hue(name: string): number {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.charCodeAt(0)) % 997;
  return sum % 8;
}

export function Said({ message, campaign }: { message: Message; campaign: string }): JSX.Element {
  const [all, setAll] = useState(false);
  const [raw, setRaw] = useState(false);
  const long = message.text.length > LONG;
  const text = long && !all ? `${message.text.slice(0, LONG)}…` : message.text;
  return (
    <article class={`said hue-${hue(message.source)}`} aria-label={`${message.source}, message ${message.position}`}>
      <header>
        <b class="speaker">{message.source}</b>
        <span class="muted">{message.type}</span>
        {message.trial !== null && <TrialLink campaign={campaign} number={message.trial} />}
        {message.round !== null && <span class="muted">round {message.round}</span>}
        <span class="spring" />
        <span class="muted">{time(message.created_at)}</span>
      </header>
      <div class="text">{text}</div>
      {(long || message.payload !== null) && (
        <p class="more">
          {long && <button type="button" class="link" aria-expanded={all} onClick={() => setAll(!all)}>{all ? "less" : "all of it"}</button>}
          {message.payload !== null && message.payload !== undefined && <button type="button" class="link" aria-expanded={raw} onClick={() => setRaw(!raw)}>as stored</button>}
        </p>
      )}
      {raw && <pre class="plain" tabIndex={0} role="region" aria-label={`Message ${message.position} as stored`}>{JSON.stringify(message.payload, null, 2)}</pre>}
    </article>
  );
}
