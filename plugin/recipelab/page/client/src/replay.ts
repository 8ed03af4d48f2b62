// A campaign as it was at a time: everything that was not there yet is taken away.

import type {
  BudgetLine, Campaign, FailureLine, Now, SpecialistLine, SurfaceLine, Trial, TrialRow,
} from "./types";
import { isGain } from "./format";
import { moments } from "./line";

export function rowsAsOf(rows: TrialRow[], campaign: Campaign, time: number): TrialRow[] {
  const tested = new Set<number>();
  for (const test of campaign.checkpoints) if (test.made_at <= time) tested.add(test.trial);
  const anyTest = campaign.checkpoints.length > 0;
  const found: TrialRow[] = [];
  for (const row of rows) {
    if (row.proposed_at > time) continue;
    if (row.judged_at !== null && row.judged_at <= time) {
      // A standing moves with checkpoints, and a later one may not show before it was made.
      const early = anyTest && row.standing !== null && row.standing !== "untested" && !settledBy(row, campaign, time);
      found.push(early ? { ...row, standing: "provisional" } : row);
    } else {
      found.push(unjudged(row));
    }
  }
  return found;
}

/** Whether the standing that a trial ended with was settled by a checkpoint before this time. */
function settledBy(row: TrialRow, campaign: Campaign, time: number): boolean {
  const at = row.judged_at ?? 0;
  const first = campaign.checkpoints.find(
    (test) => test.made_at >= at && (row.standing === "certified" ? test.held : row.standing === "unproven" ? test.fell_back : false),
  );
  return first === undefined ? true : first.made_at <= time;
}

function unjudged(row: TrialRow): TrialRow {
  return {
    ...row,
    status: null,
    state: "running",
    standing: null,
    phase: null,
    score: null,
    score_se: null,
    delta: null,
    delta_se: null,
    judged_at: null,
    judged_order: null,
    cpu_seconds: 0,
    wall_seconds: 0,
    failure_kind: null,
    signature: null,
    near_miss: false,
    unproven_gain: false,
    reason: "",
  };
}

export function trialAsOf(trial: Trial, row: TrialRow | undefined, time: number, proposedAt: (number: number) => number): Trial {
  const there = (numbers: number[] | null | undefined): number[] => (numbers ?? []).filter((number) => proposedAt(number) <= time);
  const kin = { children: there(trial.children), siblings: there(trial.siblings), fixed_by: there(trial.fixed_by) };
  if (trial.judged_at !== null && trial.judged_at <= time) return { ...trial, ...kin, standing: row?.standing ?? trial.standing };
  return {
    ...trial,
    ...kin,
    status: null,
    state: "running",
    phase: null,
    standing: null,
    reason: "",
    score: null,
    score_se: null,
    delta: null,
    delta_se: null,
    evidence: null,
    gates: [],
    seed_runs: [],
    beside: [],
    failure: null,
    log_tail: "",
    curve: null,
    curves: null,
    judged_at: null,
  };
}

export function campaignAsOf(full: Campaign, rows: TrialRow[], time: number): Campaign {
  const ended = full.ended_at !== null && full.ended_at <= time;
  const upTo = <T extends { made_at: number }>(items: T[]): T[] => items.filter((item) => item.made_at <= time);
  const checkpoints = upTo(full.checkpoints);
  const line = moments(rows, { checkpoints }).at(-1);
  return {
    ...full,
    state: ended || full.ended_at === null && time >= lastTime(full, rows) ? full.state : "running",
    stop_reason: ended ? full.stop_reason : null,
    ended_at: ended ? full.ended_at : null,
    checkpoints,
    certificates: upTo(full.certificates),
    notes: full.notes
      .filter((note) => note.created_at <= time)
      .map((note) => (note.retired_at !== null && note.retired_at > time ? { ...note, retired_at: null } : note)),
    rounds: full.rounds
      .filter((round) => round.started_at <= time)
      .map((round) => (round.ended_at !== null && round.ended_at > time ? { ...round, ended_at: null } : round)),
    best_gain: null,
    certified_gain: null,
    best: line?.head?.number ?? null,
    certified: line?.certified?.number ?? null,
    baseline: rows.some((row) => row.number === 0 && row.status !== null) ? full.baseline : null,
    budget: ended ? full.budget : budgetAsOf(full, rows, time),
    evidence: promisedAsOf(full.evidence, time, ended),
    failures: failuresAsOf(full, rows),
    by_surface: surfacesAsOf(full, rows),
    by_specialist: ended ? full.by_specialist : specialistsAsOf(full, rows),
  };
}

function lastTime(full: Campaign, rows: TrialRow[]): number {
  return rows.reduce((latest, row) => Math.max(latest, row.judged_at ?? row.proposed_at), full.created_at);
}

function promisedAsOf(evidence: Campaign["evidence"], time: number, ended: boolean): Campaign["evidence"] {
  if (evidence === null || ended) return evidence;
  const tests = (evidence.tests ?? []).filter((test) => test.made_at !== null && test.made_at <= time);
  // How much was spent by then is not known, only how much in the end.
  return { ...evidence, tests, spent: null, left: null, claims: tests.filter((test) => test.held).length };
}

const UNSPENT = new Set<string>(["rejected", "aborted", "baseline"]);

function budgetAsOf(full: Campaign, rows: TrialRow[], time: number): BudgetLine[] {
  const done = rows.filter((row) => row.status !== null);
  const used: Record<string, number> = {
    trials: done.filter((row) => !UNSPENT.has(row.status ?? "")).length,
    hours: Math.max(0, time - full.created_at) / 3600,
    device_hours: done.reduce((sum, row) => sum + (row.wall_seconds ?? row.cpu_seconds), 0) / 3600,
  };
  return full.budget
    .filter((line) => line.kind in used)
    .map((line) => ({ ...line, used: Math.min(used[line.kind] ?? 0, line.used ?? Infinity) }));
}

function failuresAsOf(full: Campaign, rows: TrialRow[]): FailureLine[] {
  const seen = new Map<string, TrialRow[]>();
  for (const row of rows) {
    if (row.signature === null) continue;
    const others = seen.get(row.signature);
    if (others) others.push(row);
    else seen.set(row.signature, [row]);
  }
  const there = new Set(rows.map((row) => row.number));
  return full.failures.flatMap((failure) => {
    const its = seen.get(failure.signature);
    const last = its?.at(-1);
    if (!its || !last) return [];
    return [{
      ...failure,
      count: its.length,
      last: last.number,
      last_seen: last.judged_at,
      fixed_by: failure.fixed_by.filter((number) => there.has(number)),
    }];
  });
}

function gains(rows: TrialRow[], full: Campaign): { tried: number; kept: number; best_delta: number | null; last_kept: number | null; since_kept: number | null } {
  let best: number | null = null;
  let kept = 0;
  let last: number | null = null;
  let since = 0;
  for (const row of rows) {
    since += 1;
    if (row.status === "kept") {
      kept += 1;
      last = row.number;
      since = 0;
    }
    if (isGain(row.delta, full.metric) && (best === null || Math.abs(row.delta ?? 0) > Math.abs(best))) best = row.delta;
  }
  return { tried: rows.length, kept, best_delta: best, last_kept: last, since_kept: last === null ? null : since };
}

function surfacesAsOf(full: Campaign, rows: TrialRow[]): SurfaceLine[] {
  return full.by_surface.map((line) => {
    const its = rows.filter((row) => row.surface === line.name && row.status !== null);
    const statuses: Record<string, number> = {};
    for (const row of its) statuses[row.status ?? ""] = (statuses[row.status ?? ""] ?? 0) + 1;
    const cpu_seconds = its.reduce((sum, row) => sum + row.cpu_seconds, 0);
    return { ...line, saturated: false, ...gains(its, full), statuses, cpu_seconds };
  });
}

function specialistsAsOf(full: Campaign, rows: TrialRow[]): SpecialistLine[] {
  return full.by_specialist.map((line) => {
    const its = rows.filter((row) => row.specialist === line.name && row.status !== null);
    const { tried, kept, best_delta } = gains(its, full);
    const cpu_seconds = its.reduce((sum, row) => sum + row.cpu_seconds, 0);
    // When a token was spent is not known, only how many in all.
    const unknown = { calls: null, prompt_tokens: null, completion_tokens: null, cost: null, seconds: null, passes: null };
    return { ...line, tried, kept, best_delta, cpu_seconds, ...unknown };
  });
}

/** What ran at a time, as far as the lineage tells. */
export function nowAsOf(campaign: Campaign, rows: TrialRow[]): Now {
  const running = rows.filter((row) => row.status === null);
  return {
    state: campaign.state,
    since: null,
    paused: false,
    driver_alive: null,
    floor: [],
    passes: [],
    queued: [],
    running: running.map((row) => ({
      trial: row.number,
      phase: null,
      seed: null,
      slot: null,
      began: row.proposed_at,
      budget: null,
      beside: null,
      look: null,
      log: [],
    })),
    confirming: null,
    next_stop: null,
    warnings: [],
    slots: null,
  };
}
