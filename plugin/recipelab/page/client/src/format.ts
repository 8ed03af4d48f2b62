// Numbers, spans of time and dates as people read them.

import type { Metric, Status, TrialRow } from "./types";

const MINUS = "\u2212";
export const NOTHING = "\u2013";

export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return grouped(value.toString());
  if (size >= 1e6 || size < 1e-4) return value.toExponential(Math.max(0, digits - 2)).replace("e+", "e").replace("-", MINUS);
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return grouped(value.toFixed(Math.min(places, 8)));
}

function grouped(text: string): string {
  const [whole = "", part] = text.replace("-", "").split(".");
  const sign = text.startsWith("-") ? MINUS : "";
  const spaced = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
  return sign + spaced + (part === undefined ? "" : `.${part}`);
}

export function whole(value: number | null | undefined): string {
  return value === null || value === undefined ? NOTHING : grouped(Math.round(value).toString());
}

export function signed(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  return value > 0 ? `+${number(value, digits)}` : number(value, digits);
}

/** A value with its standard error, both to the error's place. */
export function plusMinus(value: number | null | undefined, error: number | null | undefined, sign = false): string {
  if (value === null || value === undefined) return NOTHING;
  if (error === null || error === undefined || !(error > 0)) return sign ? signed(value) : number(value);
  const places = Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(error))));
  const text = grouped(value.toFixed(places));
  return `${sign && value > 0 ? "+" : ""}${text} \u00b1 ${grouped(error.toFixed(places))}`;
}

/** A round value at an axis, with no more digits than it needs. */
export function tick(value: number): string {
  const text = String(Number(value.toPrecision(6)));
  return text.includes("e") ? text.replace("-", MINUS) : grouped(text);
}

/** The name of what is measured, with its unit. */
export function metricName(metric: Metric): string {
  if (metric.title) return metric.title;
  return metric.unit ? `${words(metric.name)} (${metric.unit})` : words(metric.name);
}

/** Two ends of an interval. */
export function interval(low: number | null, high: number | null): string {
  return low === null || high === null ? NOTHING : `${signed(low)} to ${signed(high)}`;
}

export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (value < 10) return `${number(value, 2)} s`;
  if (value < 100) return `${Math.round(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${pad(value % 60)} s`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ${pad((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86400)} d ${pad((value % 86400) / 3600)} h`;
}

function pad(value: number): string {
  return Math.floor(value).toString().padStart(2, "0");
}

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const times = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function date(value: number | null | undefined): string {
  return value === null || value === undefined ? NOTHING : dates.format(value * 1000);
}

export function time(value: number | null | undefined): string {
  return value === null || value === undefined ? NOTHING : times.format(value * 1000);
}

/** A chance, as statisticians write it. */
export function chance(value: number | null | undefined): string {
  if (value === null || value === undefined) return NOTHING;
  return value < 1e-4 ? value.toExponential(0) : number(value, 2);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

/** Whether a difference of the metric is for the better. */
export function isGain(delta: number | null, metric: Metric): boolean {
  return delta !== null && (metric.goal === "minimize" ? delta < 0 : delta > 0);
}

export function words(name: string): string {
  return name.replaceAll("_", " ");
}

export type Look =
  | "certified" | "kept" | "unproven" | "baseline" | "near" | "gain" | "discarded" | "failed" | "running" | "queued";

const LOOKS: Record<Look, string> = {
  certified: "certified",
  kept: "kept",
  unproven: "kept, unproven",
  baseline: "baseline",
  near: "near miss",
  gain: "unproven gain",
  discarded: "discarded",
  failed: "failed",
  running: "running",
  queued: "queued",
};

/** How a trial is drawn and told: its status, and what sets it apart from others of that status. */
export function lookOf(row: Pick<TrialRow, "status" | "state" | "standing"> & Partial<TrialRow>): Look {
  const status: Status | null = row.status;
  if (status === null) return row.state === "running" ? "running" : "queued";
  if (status === "baseline") return "baseline";
  if (status === "kept") {
    if (row.standing === "certified") return "certified";
    return row.standing === "unproven" ? "unproven" : "kept";
  }
  if (row.near_miss) return "near";
  if (status === "discarded") return row.unproven_gain ? "gain" : "discarded";
  return "failed";
}

export function lookName(look: Look): string {
  return LOOKS[look];
}

/** The status of a trial in words, with its standing or what went wrong. */
export function statusText(row: Pick<TrialRow, "status" | "state" | "standing" | "phase"> & Partial<TrialRow>): string {
  if (row.status === null) return row.state === "running" ? `running${row.phase ? `: ${words(row.phase)}` : ""}` : "queued";
  const parts = [words(row.status)];
  if (row.standing) parts.push(words(row.standing));
  if (row.near_miss) parts.push("near miss");
  if (row.unproven_gain) parts.push("unproven gain");
  return parts.join(", ");
}
