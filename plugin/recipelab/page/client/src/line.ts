// The working line and the certified recipe over a campaign, from its trials and checkpoints.

import type { Campaign, TrialRow } from "./types";

export interface Moment {
  /** The trial that was judged here; null where a checkpoint moved the line. */
  row: TrialRow | null;
  at: number;
  judged: number;
  deviceHours: number;
  head: TrialRow | null;
  certified: TrialRow | null;
}

/** Trials in the order in which they were judged. */
export function judged(rows: TrialRow[]): TrialRow[] {
  return rows
    .filter((row) => row.judged_at !== null)
    .sort((a, b) => (a.judged_at ?? 0) - (b.judged_at ?? 0) || a.number - b.number);
}

/** How the line went: one moment for each judged trial and each checkpoint. */
export function moments(rows: TrialRow[], campaign: Pick<Campaign, "checkpoints">): Moment[] {
  const byNumber = new Map(rows.map((row) => [row.number, row]));
  const tests = [...campaign.checkpoints].sort((a, b) => a.made_at - b.made_at);
  const everTested = tests.some((test) => test.held);
  const found: Moment[] = [];
  let head: TrialRow | null = null;
  let certified: TrialRow | null = null;
  let count = 0;
  let hours = 0;
  let next = 0;
  const push = (row: TrialRow | null, at: number): void => {
    found.push({ row, at, judged: count, deviceHours: hours, head, certified });
  };
  const testUntil = (at: number): void => {
    for (; next < tests.length && (tests[next]?.made_at ?? 0) <= at; next++) {
      const test = tests[next];
      if (!test) continue;
      if (test.held) certified = byNumber.get(test.trial) ?? certified;
      if (test.fell_back) head = byNumber.get(test.against) ?? certified;
      push(null, test.made_at);
    }
  };
  for (const row of judged(rows)) {
    const at = row.judged_at ?? 0;
    testUntil(at);
    if (row.number !== 0) count += 1;
    hours += (row.wall_seconds ?? row.cpu_seconds) / 3600;
    if (row.status === "baseline") {
      head = row;
      certified = row;
    } else if (row.status === "kept") {
      head = row;
      if (!everTested && row.standing === "certified") certified = row;
    }
    push(row, at);
  }
  testUntil(Infinity);
  return found;
}
