// What the page knows of one campaign by now, kept fresh by events or by the clock of a replay.

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { Action, Source } from "./source";
import { PAGE } from "./source";
import { Clock } from "./clock";
import { campaignAsOf, nowAsOf, rowsAsOf, trialAsOf } from "./replay";
import type { Campaign, Changed, Message, Now, Trial, TrialRow, TrialTable } from "./types";

export type LinkState = "none" | "open" | "lost";

const CAMPAIGN_EVERY = 2000;

export class Session {
  campaign: Campaign | null = null;
  rows: TrialRow[] = [];
  byNumber = new Map<number, TrialRow>();
  now: Now | null = null;
  messages = 0;
  link: LinkState = "none";
  error: string | null = null;
  /** Why the server cannot tell more for now. */
  trouble: string | null = null;
  /** Grows with every change of the trials. */
  version = 0;
  clock: Clock | null = null;
  /** The campaign as it ended, in a replay. */
  whole: { campaign: Campaign; rows: TrialRow[] } | null = null;

  private times: number[] = [];
  private shown = -1;
  private token = "";
  private ended = false;
  private closers: (() => void)[] = [];
  private readonly listeners = new Set<() => void>();
  private readonly pages = new Map<number, Promise<Message[]>>();
  private readonly details = new Map<number, { version: string; trial: Promise<Trial> }>();
  private refreshing = false;
  private stale = false;
  private campaignAt = 0;
  private campaignTimer = 0;

  constructor(readonly source: Source, readonly name: string) {}

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }

  async start(): Promise<void> {
    try {
      const [campaign, table, now] = await Promise.all([
        this.source.campaign(this.name),
        this.source.trials(this.name),
        this.source.now(this.name),
      ]);
      if (this.ended) return;
      this.token = table.token;
      this.messages = campaign.messages;
      this.campaignAt = performance.now();
      const rows = rowsOf(table);
      if (this.source.mode === "replay") this.startReplay(campaign, rows);
      else {
        this.campaign = campaign;
        this.now = now;
        this.setRows(rows);
      }
      if (this.source.mode === "live") this.follow();
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
    this.tell();
  }

  stop(): void {
    this.ended = true;
    this.clock?.pause();
    clearTimeout(this.campaignTimer);
    for (const close of this.closers) close();
  }

  private setRows(rows: TrialRow[]): void {
    this.rows = rows;
    this.byNumber = new Map(rows.map((row) => [row.number, row]));
    this.version += 1;
  }

  // Live

  private follow(): void {
    this.closers.push(
      this.source.events(
        this.name,
        {
          changed: (event) => this.changed(event),
          trouble: (text) => {
            this.trouble = text;
            this.tell();
          },
          link: (state) => {
            const back = state === "open" && this.link === "lost";
            if (this.link === state) return;
            this.link = state;
            if (back) void this.refresh(true);
            this.tell();
          },
        },
      ),
    );
  }

  private changed(event: Changed): void {
    this.trouble = null;
    this.now = event.now;
    this.messages = event.messages;
    if (this.campaign && this.campaign.state !== event.state) {
      this.campaign = { ...this.campaign, state: event.state };
      this.campaignAt = 0;
    }
    this.tell();
    void this.refresh(false, event.trials);
  }

  /** Fetch the rows that changed, and now and then the figures that hang on them. */
  private async refresh(all: boolean, token?: string): Promise<void> {
    if (this.refreshing) {
      this.stale = true;
      return;
    }
    this.refreshing = true;
    try {
      if (all || token === undefined || token !== this.token) {
        const table = await this.source.trials(this.name, all ? undefined : this.token);
        this.token = table.token;
        const rows = rowsOf(table);
        if (all || table.whole === true) this.setRows(rows);
        else if (rows.length > 0) this.setRows(merged(this.rows, rows));
        this.tell();
      }
      await this.refreshCampaign(all);
    } catch {
      // The stream of events tells that the server is gone, and what was missed comes when it is back.
      this.stale = false;
    } finally {
      this.refreshing = false;
    }
    if (this.stale) {
      this.stale = false;
      void this.refresh(false);
    }
  }

  private async refreshCampaign(soon: boolean): Promise<void> {
    const wait = this.campaignAt + CAMPAIGN_EVERY - performance.now();
    clearTimeout(this.campaignTimer);
    if (wait > 0 && !soon) {
      this.campaignTimer = window.setTimeout(() => void this.refreshCampaign(true).catch(() => undefined), wait);
      return;
    }
    this.campaignAt = performance.now();
    this.campaign = await this.source.campaign(this.name);
    if (soon) {
      this.now = await this.source.now(this.name);
      this.messages = Math.max(this.messages, this.campaign.messages);
    }
    this.tell();
  }

  async act(what: Action, body: Record<string, unknown> = {}): Promise<void> {
    await this.source.act(this.name, what, body);
    await this.refreshCampaign(true);
  }

  // Replay

  private startReplay(campaign: Campaign, rows: TrialRow[]): void {
    this.whole = { campaign, rows };
    const times = [campaign.created_at, campaign.ended_at];
    for (const row of rows) times.push(row.proposed_at, row.judged_at);
    for (const item of [...campaign.checkpoints, ...campaign.certificates]) times.push(item.made_at);
    for (const note of campaign.notes) times.push(note.created_at, note.retired_at);
    this.times = times.filter((time) => time !== null).sort((a, b) => a - b);
    const start = this.times[0] ?? 0;
    this.clock = new Clock(start, Math.max(this.times.at(-1) ?? 0, start + 1));
    this.closers.push(this.clock.listen(() => this.ticked()));
    this.ticked();
  }

  private ticked(): void {
    const { clock, whole: full } = this;
    if (!clock || !full) return;
    const count = upTo(this.times, clock.time);
    if (count !== this.shown) {
      this.shown = count;
      this.setRows(rowsAsOf(full.rows, full.campaign, clock.time));
      this.campaign = campaignAsOf(full.campaign, this.rows, clock.time);
      this.now = nowAsOf(this.campaign, this.rows);
      void this.countMessages(clock.time);
    }
    this.tell();
  }

  /** Find how many messages there were at a time, by halving. */
  private async countMessages(time: number): Promise<void> {
    let low = 0;
    let high = this.whole?.campaign.messages ?? 0;
    while (low < high) {
      const middle = (low + high) >> 1;
      const message = await this.message(middle);
      if (message && message.created_at <= time) low = middle + 1;
      else high = middle;
    }
    if (this.clock?.time !== undefined && low !== this.messages) {
      this.messages = low;
      this.tell();
    }
  }

  // What is fetched when it is looked at

  async trial(number: number): Promise<Trial> {
    const row = this.byNumber.get(number);
    const version = this.source.mode === "live" ? `${row?.status}/${row?.standing}/${row?.phase}` : "";
    let known = this.details.get(number);
    if (!known || known.version !== version) {
      const trial = this.source.trial(this.name, number);
      known = { version, trial };
      this.details.set(number, known);
      trial.catch(() => this.details.delete(number));
      if (this.details.size > 60) this.details.delete(this.details.keys().next().value as number);
    }
    const trial = await known.trial;
    if (!this.clock || !this.whole) return trial;
    const all = this.whole.rows;
    const proposedAt = (other: number): number => all[other]?.number === other ? (all[other]?.proposed_at ?? 0) : (all.find((one) => one.number === other)?.proposed_at ?? 0);
    return trialAsOf(trial, row, this.clock.time, proposedAt);
  }

  /** The messages of a page of the chat, complete or, at its end, as many as there are by now. */
  chatPage(index: number): Promise<Message[]> {
    const total = this.clock ? (this.whole?.campaign.messages ?? 0) : this.messages;
    const known = this.pages.get(index);
    if (known) return known;
    const page = this.source.chat(this.name, index * PAGE).then((answer) => {
      // The last page still grows.
      if (answer.messages.length < PAGE && total >= 0 && this.source.mode === "live") this.pages.delete(index);
      return answer.messages;
    });
    page.catch(() => this.pages.delete(index));
    this.pages.set(index, page);
    return page;
  }

  async message(position: number): Promise<Message | undefined> {
    const page = await this.chatPage(Math.floor(position / PAGE));
    return page.find((message) => message.position === position);
  }
}

function upTo(times: number[], time: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? Infinity) <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function rowsOf(table: TrialTable): TrialRow[] {
  const names = Object.keys(table.columns) as (keyof TrialRow)[];
  const count = table.columns.number?.length ?? 0;
  const rows: TrialRow[] = new Array<TrialRow>(count);
  for (let i = 0; i < count; i++) {
    const row = {} as Record<string, unknown>;
    for (const name of names) row[name] = table.columns[name][i];
    rows[i] = row as unknown as TrialRow;
  }
  return rows;
}

function merged(old: TrialRow[], changed: TrialRow[]): TrialRow[] {
  const fresh = new Map(changed.map((row) => [row.number, row]));
  const rows = old.map((row) => {
    const other = fresh.get(row.number);
    if (other) fresh.delete(row.number);
    return other ?? row;
  });
  return fresh.size === 0 ? rows : [...rows, ...fresh.values()].sort((a, b) => a.number - b.number);
}

export const SessionContext = createContext<Session | null>(null);

/** The session of the page, drawn anew when it changes. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("no session");
  const [, redraw] = useState(0);
  useEffect(() => {
    let frame = 0;
    const listener = (): void => {
      if (frame === 0) frame = requestAnimationFrame(() => {
        frame = 0;
        redraw((count) => count + 1);
      });
    };
    const close = session.listen(listener);
    listener();
    return () => {
      cancelAnimationFrame(frame);
      close();
    };
  }, [session]);
  return session;
}

/** A session and its campaign, where the page has it. */
export function useCampaign(): { session: Session; campaign: Campaign } {
  const session = useSession();
  if (!session.campaign) throw new Error("no campaign");
  return { session, campaign: session.campaign };
}

export interface Loaded<T> {
  value: T | null;
  error: string | null;
}

/** What a promise gives, made anew when one of `on` changes; the old value stays until then. */
export function useLoaded<T>(make: () => Promise<T>, on: unknown[]): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({ value: null, error: null });
  useEffect(() => {
    let current = true;
    make().then(
      (value) => current && setState({ value, error: null }),
      (error: unknown) => current && setState({ value: null, error: error instanceof Error ? error.message : String(error) }),
    );
    return () => {
      current = false;
    };
  }, on);
  return state;
}
