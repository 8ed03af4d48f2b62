// The chat as it was spoken, whole or filtered.

import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { plural, whole } from "../format";
import { LongList } from "../long_list";
import { SearchField, Select } from "../parts";
import { setQuery } from "../route";
import type { Route } from "../route";
import { useCampaign } from "../session";
import type { Session } from "../session";
import { PAGE } from "../source";
import type { Message } from "../types";
import { Said } from "./message";

interface Filter {
  round: string;
  speaker: string;
  trial: string;
  text: string;
}

function wordsOf(message: Message): string {
  const calls = message.payload?.calls ?? [];
  return [message.text, ...calls.flatMap((call) => [call.name, call.arguments ?? "", call.content ?? ""])].join("\n");
}

function fits(message: Message, filter: Filter): boolean {
  if (filter.round !== "" && String(message.round ?? "") !== filter.round) return false;
  if (filter.speaker !== "" && message.source !== filter.speaker) return false;
  if (filter.trial !== "" && !(message.trials ?? [message.trial]).some((trial) => String(trial) === filter.trial)) return false;
  return filter.text === "" || wordsOf(message).toLowerCase().includes(filter.text.toLowerCase());
}

const AT_ONCE = 6;

interface Found {
  positions: number[];
  read: number;
}

/** The positions of messages that fit, found page by page; null where all do. */
function useFound(session: Session, filter: Filter, total: number): Found | null {
  const key = JSON.stringify(filter);
  const none = filter.round === "" && filter.speaker === "" && filter.trial === "" && filter.text === "";
  const [found, setFound] = useState<Found>({ positions: [], read: 0 });
  useEffect(() => {
    if (none) return;
    let current = true;
    const search = async (): Promise<void> => {
      const positions: number[] = [];
      for (let page = 0; page * PAGE < total && current; page += AT_ONCE) {
        const some = Array.from({ length: AT_ONCE }, (_, i) => page + i).filter((index) => index * PAGE < total);
        for (const messages of await Promise.all(some.map((index) => session.chatPage(index)))) {
          for (const message of messages) if (message.position < total && fits(message, filter)) positions.push(message.position);
        }
        if (current) setFound({ positions: [...positions], read: Math.min(total, (page + some.length) * PAGE) });
      }
    };
    search().catch(() => undefined);
    return () => {
      current = false;
    };
  }, [session, key, total]);
  return none ? null : found;
}

/** A message of the list, fetched with its page when it comes into sight. */
function Entry({ session, position, last }: { session: Session; position: number; last: boolean }): JSX.Element {
  const [message, setMessage] = useState<Message | null | undefined>(undefined);
  useEffect(() => {
    let current = true;
    session.message(position).then((value) => current && setMessage(value ?? null), () => current && setMessage(null));
    return () => {
      current = false;
    };
  }, [session, position, last]);
  if (message === undefined) return <div class="said waiting" />;
  if (message === null) return <div class="said"><p class="muted">Message {position} is not in this file.</p></div>;
  return <Said message={message} campaign={session.name} />;
}

export function Chat({ route }: { route: Route }): JSX.Element {
  const { session, campaign } = useCampaign();
  const total = session.messages;
  const get = (name: string): string => route.query.get(name) ?? "";
  const filter: Filter = { round: get("round"), speaker: get("speaker"), trial: get("trial"), text: get("text") };
  const found = useFound(session, filter, total);
  const speakers = useMemo(() => [...new Set([...campaign.specialists, ...campaign.by_specialist.map((line) => line.name), "evaluator", "user"])], [campaign.specialists, campaign.by_specialist]);
  const at = useRef<number | null>(null);
  const wanted = get("at");
  at.current = wanted === "" ? null : Number(wanted);
  const count = found ? found.positions.length : total;
  const place = at.current === null ? null : found ? Math.max(0, found.positions.findIndex((position) => position >= (at.current ?? 0))) : at.current;
  const set = (name: keyof Filter) => (value: string): void => setQuery({ [name]: value || null, at: null });
  return (
    <>
      <h1>Chat</h1>
      <div class="filters">
        <SearchField label="Text" value={filter.text} onChange={set("text")} />
        <Select label="Speaker" value={filter.speaker} options={[["", "everyone"], ...speakers.map((name) => [name, name] as const)]} onChange={set("speaker")} />
        <Select label="Round" value={filter.round} options={[["", "all"], ...campaign.rounds.map((round) => [String(round.number), String(round.number)] as const)]} onChange={set("round")} />
        <SearchField label="Trial" value={filter.trial} onChange={(value) => set("trial")(value.replace(/\D/g, ""))} />
        <p class="muted count-of" role="status">
          {found && found.read < total ? `${plural(count, "message")} so far, ${whole(found.read)} of ${whole(total)} read` : plural(count, "message")}
        </p>
      </div>
      {count === 0 && (found === null || found.read >= total) ? <p class="muted">{total === 0 ? "Nothing was said yet." : "No message fits the filter."}</p> : (
        <LongList
          label="Messages"
          count={count}
          guess={110}
          at={place}
          follow={session.source.mode !== "report" && found === null && at.current === null}
          of={JSON.stringify(filter)}
          item={(index) => {
            const position = found ? found.positions[index] : index;
            return position === undefined ? null : <Entry key={position} session={session} position={position} last={position >= total - 1} />;
          }}
        />
      )}
    </>
  );
}
