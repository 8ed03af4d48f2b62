// The seed runs of a trial, beside those of the best that it was compared with.

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { number, seconds } from "../format";
import { Panel, TrialLink } from "../parts";
import { Table } from "../table";
import type { Column } from "../table";
import type { Campaign, SeedRun, Trial } from "../types";

const MOST_MEASURES = 5;

interface Line {
  seed: number;
  mine: SeedRun | undefined;
  other: SeedRun | undefined;
}

/** The measures of the runs: the metric first, then what gates are held to, then others. */
function ranked(runs: SeedRun[], campaign: Campaign): { first: string[]; all: string[] } {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.measures)))].filter((name) => !name.startsWith("beside."));
  const doubled = names.includes("metric");
  const metric = campaign.metric.name;
  const rank = (name: string): number => {
    if (name === "metric") return 0;
    if (name === metric || name.endsWith(`.${metric}`)) return doubled ? 9 : 1;
    if (campaign.gates.some((gate) => name === gate.name || name.endsWith(`.${gate.name}`))) return 2;
    if (name.startsWith("score.") && !/seconds$|memory_mb$/.test(name)) return 3;
    return name === "train.cpu_seconds" || name === "artifact.bytes" ? 4 : 9;
  };
  const all = names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return { all, first: all.filter((name) => rank(name) < 9).slice(0, MOST_MEASURES) };
}

const total = (run: SeedRun | undefined): number | null => (run && run.timings.length > 0 ? run.timings.reduce((sum, timing) => sum + timing.wall_seconds, 0) : null);

export function SeedRuns({ trial, campaign }: { trial: Trial; campaign: Campaign }): JSX.Element {
  const lines = useMemo(() => {
    const found = new Map<number, Line>();
    for (const run of trial.seed_runs) found.set(run.seed, { seed: run.seed, mine: run, other: undefined });
    for (const run of trial.beside) found.set(run.seed, { seed: run.seed, mine: found.get(run.seed)?.mine, other: run });
    return [...found.values()];
  }, [trial]);
  const names = useMemo(() => ranked([...trial.seed_runs, ...trial.beside], campaign), [trial, campaign]);
  const [all, setAll] = useState(false);
  const measures = all ? names.all : names.first;
  const both = trial.beside.length > 0;
  const name = trial.beside_trial === null ? "best" : `#${trial.beside_trial}`;
  const columns: Column<Line>[] = [
    { key: "seed", name: "Seed", kind: "row", show: (line) => line.seed },
    ...measures.flatMap((measure): Column<Line>[] => [
      { key: measure, name: measure === "metric" ? campaign.metric.name : measure, kind: "number", by: (line) => line.mine?.measures[measure] ?? null, show: (line) => number(line.mine?.measures[measure]) },
      ...(both ? [{ key: `${measure}/other`, name, kind: "number" as const, by: (line: Line) => line.other?.measures[measure] ?? null, show: (line: Line) => <span class="muted">{number(line.other?.measures[measure])}</span> }] : []),
    ]),
    { key: "time", name: "Time", kind: "number", by: (line) => total(line.mine), show: (line) => seconds(total(line.mine)) },
    ...(both ? [{ key: "time/other", name, kind: "number" as const, by: (line: Line) => total(line.other), show: (line: Line) => <span class="muted">{seconds(total(line.other))}</span> }] : []),
  ];
  return (
    <Panel title="Seed runs" wide aside={<>
      {both && trial.beside_trial !== null && <span class="muted">beside <TrialLink campaign={campaign.name} number={trial.beside_trial} /></span>}
      {names.all.length > names.first.length && <button type="button" class="small" aria-pressed={all} onClick={() => setAll(!all)}>all {names.all.length} measures</button>}
    </>}>
      <Table label="Seed runs" columns={columns} rows={lines} id={(line) => line.seed} />
    </Panel>
  );
}
