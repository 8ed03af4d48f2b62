// Where the data come from: a server, or chunks that lie in the document itself.

import type {
  Campaign, CampaignLine, Changed, ChatPage, Message, Now, Trial, TrialTable, ViewText,
} from "./types";

export const PAGE = 200;
const DETAILS = 100;

export type Action = "note" | "pause" | "resume" | "stop" | "kill";
export type Link = "open" | "lost";

export interface Source {
  readonly mode: "live" | "report" | "replay";
  campaigns(): Promise<CampaignLine[]>;
  campaign(name: string): Promise<Campaign>;
  trials(name: string, since?: string): Promise<TrialTable>;
  trial(name: string, number: number): Promise<Trial>;
  chat(name: string, from: number): Promise<ChatPage>;
  view(name: string, hash: string): Promise<ViewText>;
  now(name: string): Promise<Now | null>;
  act(name: string, what: Action, body: Record<string, unknown>): Promise<void>;
  /** Tells of changes until the function that it returns is called. */
  events(name: string, on: Events): () => void;
}

export interface Events {
  changed: (event: Changed) => void;
  /** The lineage cannot be read for now. */
  trouble: (text: string) => void;
  link: (state: Link) => void;
}

export class NotThere extends Error {}

/** Remember what a call gave, and forget it if it failed. */
function remembered<T>(store: Map<string, Promise<T>>, key: string, make: () => Promise<T>, most = 400): Promise<T> {
  const known = store.get(key);
  if (known) return known;
  const made = make();
  store.set(key, made);
  made.catch(() => store.delete(key));
  if (store.size > most) store.delete(store.keys().next().value as string);
  return made;
}

export class HttpSource implements Source {
  readonly mode = "live";

  async campaigns(): Promise<CampaignLine[]> {
    return this.get("api/campaigns");
  }

  async campaign(name: string): Promise<Campaign> {
    return this.get(this.path(name));
  }

  async trials(name: string, since?: string): Promise<TrialTable> {
    const query = since === undefined ? "" : `?since=${encodeURIComponent(since)}`;
    return this.get(`${this.path(name)}/trials${query}`);
  }

  async trial(name: string, number: number): Promise<Trial> {
    return this.get(`${this.path(name)}/trials/${number}`);
  }

  async chat(name: string, from: number): Promise<ChatPage> {
    return this.get(`${this.path(name)}/chat?from=${from}&count=${PAGE}`);
  }

  async view(name: string, hash: string): Promise<ViewText> {
    return this.get(`${this.path(name)}/views/${encodeURIComponent(hash)}`);
  }

  async now(name: string): Promise<Now | null> {
    return this.get(`${this.path(name)}/now`);
  }

  async act(name: string, what: Action, body: Record<string, unknown>): Promise<void> {
    const answer = await fetch(`${this.path(name)}/${what}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(await told(answer));
  }

  events(name: string, on: Events): () => void {
    let stream: EventSource | null = null;
    let timer = 0;
    let ended = false;
    const open = (): void => {
      stream = new EventSource(`${this.path(name)}/events`);
      stream.onopen = () => on.link("open");
      stream.addEventListener("changed", (event) => {
        on.link("open");
        on.changed(JSON.parse((event as MessageEvent<string>).data) as Changed);
      });
      stream.addEventListener("trouble", (event) => {
        on.trouble((JSON.parse((event as MessageEvent<string>).data) as { error: string }).error);
      });
      stream.onerror = () => {
        on.link("lost");
        // A browser gives up for good when the answer was an error, so begin anew.
        if (stream?.readyState === EventSource.CLOSED && !ended) {
          clearTimeout(timer);
          timer = window.setTimeout(open, 1000);
        }
      };
    };
    open();
    return () => {
      ended = true;
      clearTimeout(timer);
      stream?.close();
    };
  }

  private path(name: string): string {
    return `api/campaigns/${encodeURIComponent(name)}`;
  }

  private async get<T>(path: string): Promise<T> {
    const answer = await fetch(path, { headers: { Accept: "application/json" } });
    if (answer.status === 404) throw new NotThere(await told(answer));
    if (!answer.ok) throw new Error(await told(answer));
    return (await answer.json()) as T;
  }
}

async function told(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    const { detail, error } = JSON.parse(text) as { detail?: unknown; error?: unknown };
    const reason = detail ?? error;
    if (typeof reason === "string") return reason;
  } catch {
    // Not JSON: the status line has to do.
  }
  return `the server answered ${answer.status} ${answer.statusText}`.trim();
}

export interface Embedded {
  mode: "report" | "replay";
  chunks: Record<string, unknown>;
}

export class EmbeddedSource implements Source {
  readonly mode: "report" | "replay";
  private readonly chunks: Record<string, unknown>;
  private readonly opened = new Map<string, Promise<unknown>>();

  constructor(data: Embedded) {
    this.mode = data.mode;
    this.chunks = data.chunks;
  }

  async campaigns(): Promise<CampaignLine[]> {
    return this.chunk("campaigns");
  }

  async campaign(name: string): Promise<Campaign> {
    return this.whole("campaign", name);
  }

  async trials(name: string): Promise<TrialTable> {
    return this.whole("trials", name);
  }

  /** A part that every campaign of the file has. */
  private async whole<T>(part: string, name: string): Promise<T> {
    const key = `${part}:${name}`;
    if (Object.hasOwn(this.chunks, key)) return this.chunk(key);
    const others = await this.campaigns();
    throw new NotThere(`There is no campaign ${name} in this file; it has ${others.map((one) => one.name).join(", ")}.`);
  }

  async trial(name: string, number: number): Promise<Trial> {
    const key = `detail:${name}:${Math.floor(number / DETAILS)}`;
    const details = Object.hasOwn(this.chunks, key) ? await this.chunk<Trial[]>(key) : [];
    const found = details.find((detail) => detail.number === number);
    if (!found) throw new NotThere(`There is no trial ${number} in ${name}.`);
    return found;
  }

  async chat(name: string, from: number): Promise<ChatPage> {
    const { messages: total } = await this.campaign(name);
    if (from >= total) return { from, total, messages: [] };
    const key = `chat:${name}:${Math.floor(from / PAGE)}`;
    // A file of a big campaign leaves out what led to no trial of note.
    if (!Object.hasOwn(this.chunks, key)) return { from, total, messages: [] };
    const page = await this.chunk<Message[] | ChatPage>(key);
    return { from, total, messages: Array.isArray(page) ? page : page.messages };
  }

  async view(name: string, hash: string): Promise<ViewText> {
    for (let shard = 0; `view:${name}:${shard}` in this.chunks; shard++) {
      const views = await this.chunk<ViewText[] | Record<string, ViewText>>(`view:${name}:${shard}`);
      const found = Array.isArray(views) ? views.find((one) => one.hash === hash) : views[hash];
      if (found) return found;
    }
    throw new NotThere("this view was not stored");
  }

  async now(): Promise<Now | null> {
    return null;
  }

  async act(): Promise<void> {
    throw new Error("this is a file, not a running campaign");
  }

  events(): () => void {
    return () => undefined;
  }

  private chunk<T>(key: string): Promise<T> {
    const read = async (): Promise<unknown> => {
      if (!Object.hasOwn(this.chunks, key)) throw new NotThere(`the file has no ${key}`);
      const value = this.chunks[key];
      return typeof value === "string" ? JSON.parse(await unpacked(value)) : value;
    };
    return remembered(this.opened, key, read) as Promise<T>;
  }
}

/** Decode gzip in base64. */
async function unpacked(text: string): Promise<string> {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** The source of this document: what lies in it, else the server that it came from. */
export function openSource(): Source {
  const holder = document.getElementById("recipelab-data");
  if (!holder) return new HttpSource();
  return new EmbeddedSource(JSON.parse(holder.textContent ?? "{}") as Embedded);
}
