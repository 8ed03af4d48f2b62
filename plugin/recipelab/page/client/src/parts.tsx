// Small parts that many views share.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { Look } from "./format";
import { lookName, lookOf, statusText, words } from "./format";
import { href } from "./route";
import type { TrialRow } from "./types";

type Children = { children?: ComponentChildren };

/** A titled part of a view. */
export function Panel(props: Children & { title: string; aside?: ComponentChildren; wide?: boolean; id?: string }): JSX.Element {
  const id = useId();
  return (
    <section class={props.wide ? "panel wide" : "panel"} aria-labelledby={id} id={props.id}>
      <header class="panel-head">
        <h2 id={id}>{props.title}</h2>
        {props.aside !== undefined && <div class="aside">{props.aside}</div>}
      </header>
      {props.children}
    </section>
  );
}

const SHAPES: Record<Look, JSX.Element> = {
  certified: <><circle cx="8" cy="8" r="7" class="ring" /><circle cx="8" cy="8" r="3.6" class="solid" /></>,
  kept: <circle cx="8" cy="8" r="5" class="solid" />,
  unproven: <><circle cx="8" cy="8" r="5" class="hollow" /><path d="M8 3a5 5 0 0 1 0 10z" class="solid" /></>,
  baseline: <rect x="3.5" y="3.5" width="9" height="9" class="solid" />,
  near: <path d="M8 2 14 8 8 14 2 8z" class="solid" />,
  gain: <path d="M8 2.5 13.5 8 8 13.5 2.5 8z" class="hollow" />,
  discarded: <circle cx="8" cy="8" r="4.5" class="hollow" />,
  failed: <path d="M4 4l8 8M12 4l-8 8" class="stroke" />,
  running: <path d="M5 3.2 13 8 5 12.8z" class="solid" />,
  queued: <path d="M4 8h.1M8 8h.1M12 8h.1" class="stroke" />,
};

/** The sign of a trial: its shape says what its color says. */
export function Sign({ look }: { look: Look }): JSX.Element {
  return (
    <svg class={`sign look-${look}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      {SHAPES[look]}
    </svg>
  );
}

export function StatusBadge({ row, short }: { short?: boolean; row: Pick<TrialRow, "status" | "state" | "standing" | "phase"> & Partial<TrialRow> }): JSX.Element {
  const look = lookOf(row);
  return (
    <span class={`status look-${look}`}>
      <Sign look={look} />
      <span>{short && row.status !== null ? lookName(look) === "failed" ? words(row.status) : lookName(look) : statusText(row)}</span>
    </span>
  );
}

export function TrialLink({ campaign, number, children }: Children & { campaign: string; number: number }): JSX.Element {
  return <a href={href(campaign, "trial", number)} class="trial-link">{children ?? `#${number}`}</a>;
}

export function TrialLinks({ campaign, numbers, most = 12 }: { campaign: string; numbers: number[]; most?: number }): JSX.Element {
  const [all, setAll] = useState(false);
  if (numbers.length === 0) return <span class="muted">none</span>;
  const shown = all ? numbers : numbers.slice(0, most);
  return (
    <span class="links">
      {shown.map((number) => <TrialLink key={number} campaign={campaign} number={number} />)}
      {shown.length < numbers.length && (
        <button type="button" class="link" onClick={() => setAll(true)}>{numbers.length - shown.length} more</button>
      )}
    </span>
  );
}

/** How much of something is used. */
export function Meter(props: { label: string; value: number; max: number; tone?: "warn" }): JSX.Element {
  const share = props.max > 0 ? Math.min(1, Math.max(0, props.value / props.max)) : 0;
  const bar = useRef<HTMLDivElement>(null);
  useEffect(() => {
    bar.current?.style.setProperty("--share", share.toFixed(4));
  }, [share]);
  return (
    <div
      class={props.tone === "warn" || share >= 0.9 ? "meter warn" : "meter"}
      role="meter"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={props.max}
      aria-valuenow={Math.min(props.value, props.max)}
      ref={bar}
    >
      <div />
    </div>
  );
}

/** A choice of a few, of which one holds. */
export function Choice<T extends string>(props: { label: string; value: T; options: readonly (readonly [T, string])[]; onChange: (value: T) => void }): JSX.Element {
  return (
    <div class="choice" role="group" aria-label={props.label}>
      {props.options.map(([value, name]) => (
        <button key={value} type="button" aria-pressed={value === props.value} onClick={() => props.onChange(value)}>{name}</button>
      ))}
    </div>
  );
}

export function Select(props: { label: string; value: string; options: readonly (readonly [string, string])[]; onChange: (value: string) => void }): JSX.Element {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <select id={id} value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        {props.options.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
      </select>
    </div>
  );
}

/** A text to filter by; the page hears of it when typing pauses. */
export function SearchField(props: { label: string; value: string; onChange: (value: string) => void }): JSX.Element {
  const id = useId();
  const [text, setText] = useState(props.value);
  const timer = useRef(0);
  useEffect(() => setText(props.value), [props.value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <input
        id={id}
        type="search"
        data-filter
        value={text}
        onInput={(event) => {
          const value = event.currentTarget.value;
          setText(value);
          clearTimeout(timer.current);
          timer.current = window.setTimeout(() => props.onChange(value), 150);
        }}
      />
    </div>
  );
}

/** Long text as it was written. */
export function Plain({ text, label, tall }: { text: string; label: string; tall?: boolean }): JSX.Element {
  return <pre class={tall ? "plain tall" : "plain"} tabIndex={0} role="region" aria-label={label}>{text}</pre>;
}

export function Facts({ items }: { items: [string, ComponentChildren][] }): JSX.Element {
  return (
    <dl class="facts">
      {items.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

export function Problem({ text }: { text: string }): JSX.Element {
  return <p class="problem" role="alert">{text}</p>;
}

export function Waiting({ what }: { what: string }): JSX.Element {
  return <p class="muted waiting">Loading {what}…</p>;
}

/** The width of an element, followed as it changes. */
export function useSize<T extends HTMLElement>(): [{ current: T | null }, number, number] {
  const ref = useRef<T>(null);
  const [size, setSize] = useState<[number, number]>([0, 0]);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setSize([element.clientWidth, element.clientHeight]));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [ref, size[0], size[1]];
}

/** Draw again when light turns to dark, and every `every` milliseconds if given. */
export function useScheme(): number {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const turned = (): void => setCount((old) => old + 1);
    query.addEventListener("change", turned);
    return () => query.removeEventListener("change", turned);
  }, []);
  return count;
}

export function useTick(every: number, on: boolean): void {
  const [, redraw] = useState(0);
  useEffect(() => {
    if (!on) return;
    const timer = setInterval(() => redraw((count) => count + 1), every);
    return () => clearInterval(timer);
  }, [every, on]);
}

export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888";
}
