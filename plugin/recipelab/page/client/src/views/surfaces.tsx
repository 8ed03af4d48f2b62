// What each surface gave and each specialist cost.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { NOTHING, number, seconds, signed, whole, words } from "../format";
import { Panel, TrialLink } from "../parts";
import { href } from "../route";
import { useCampaign } from "../session";
import { Table } from "../table";
import type { Column } from "../table";
import type { SpecialistLine, SurfaceLine, TrialRow } from "../types";

/** Trials of a surface in order, a mark for each: kept, measured or failed. */
function History({ rows }: { rows: TrialRow[] }): JSX.Element {
  const shown = rows.slice(-40);
  return (
    <svg class="history" width={shown.length * 5} height="14" viewBox={`0 0 ${shown.length * 5} 14`} aria-hidden="true">
      {shown.map((row, i) => row.status === "kept"
        ? <rect key={row.number} x={i * 5} y="0" width="4" height="14" class="fill-kept" />
        : row.status === "discarded"
          ? <rect key={row.number} x={i * 5} y="7" width="4" height="7" class="fill-discarded" />
          : <rect key={row.number} x={i * 5} y="11" width="4" height="3" class="fill-failed" />)}
    </svg>
  );
}

export function Surfaces(): JSX.Element {
  const { session, campaign } = useCampaign();
  const bySurface = useMemo(() => {
    const found = new Map<string, TrialRow[]>();
    for (const row of session.rows) {
      if (row.status === null || row.status === "baseline") continue;
      const its = found.get(row.surface);
      if (its) its.push(row);
      else found.set(row.surface, [row]);
    }
    return found;
  }, [session.rows]);
  const surfaces: Column<SurfaceLine>[] = [
    { key: "name", name: "Surface", kind: "row", by: (line) => line.name, show: (line) => <a href={href(campaign.name, "lineage", null, { surface: line.name })}>{line.name}</a> },
    { key: "tried", name: "Tried", kind: "number", by: (line) => line.tried, show: (line) => whole(line.tried) },
    { key: "kept", name: "Kept", kind: "number", by: (line) => line.kept, show: (line) => whole(line.kept) },
    { key: "share", name: "Kept, %", kind: "number", by: (line) => (line.tried ? line.kept / line.tried : null), show: (line) => (line.tried ? number((100 * line.kept) / line.tried, 2) : NOTHING) },
    { key: "best", name: "Best change", kind: "number", by: (line) => line.best_delta, show: (line) => signed(line.best_delta) },
    { key: "last", name: "Last kept", kind: "number", by: (line) => line.last_kept, show: (line) => (line.last_kept === null ? NOTHING : <TrialLink campaign={campaign.name} number={line.last_kept} />) },
    { key: "since", name: "Tried since", kind: "number", by: (line) => line.since_kept, show: (line) => <>{whole(line.since_kept)}{line.saturated && <b> saturated</b>}</> },
    { key: "cpu", name: "CPU", kind: "number", by: (line) => line.cpu_seconds, show: (line) => seconds(line.cpu_seconds) },
    { key: "how", name: "How they ended", kind: "text", show: (line) => Object.entries(line.statuses).sort((a, b) => b[1] - a[1]).map(([name, count]) => `${count} ${words(name)}`).join(", ") },
    { key: "history", name: "Last 40", show: (line) => <History rows={bySurface.get(line.name) ?? []} /> },
  ];
  const specialists: Column<SpecialistLine>[] = [
    { key: "name", name: "Specialist", kind: "row", by: (line) => line.name, show: (line) => <a href={href(campaign.name, "lineage", null, { specialist: line.name })}>{line.name}</a> },
    { key: "tried", name: "Tried", kind: "number", by: (line) => line.tried, show: (line) => whole(line.tried) },
    { key: "kept", name: "Kept", kind: "number", by: (line) => line.kept, show: (line) => whole(line.kept) },
    { key: "best", name: "Best change", kind: "number", by: (line) => line.best_delta, show: (line) => signed(line.best_delta) },
    { key: "passes", name: "Passes", kind: "number", by: (line) => line.passes, show: (line) => whole(line.passes) },
    { key: "calls", name: "Calls", kind: "number", by: (line) => line.calls, show: (line) => whole(line.calls) },
    { key: "in", name: "Tokens in", kind: "number", by: (line) => line.prompt_tokens, show: (line) => whole(line.prompt_tokens) },
    { key: "out", name: "Tokens out", kind: "number", by: (line) => line.completion_tokens, show: (line) => whole(line.completion_tokens) },
    { key: "cost", name: "Cost", kind: "number", by: (line) => line.cost, show: (line) => number(line.cost, 3) },
    { key: "seconds", name: "Thought for", kind: "number", by: (line) => line.seconds, show: (line) => seconds(line.seconds) },
    { key: "cpu", name: "CPU of trials", kind: "number", by: (line) => line.cpu_seconds, show: (line) => seconds(line.cpu_seconds) },
  ];
  return (
    <>
      <h1>Surfaces and specialists</h1>
      <div class="grid">
        <Panel title="Surfaces" wide>
          <Table label="Surfaces" columns={surfaces} rows={campaign.by_surface} id={(line) => line.name} empty="No trial yet." />
          <p class="muted small">Last 40: a tall mark is a kept trial, a middle one a measured trial that was discarded, a low one a failure.</p>
        </Panel>
        <Panel title="Specialists" wide>
          <Table label="Specialists" columns={specialists} rows={campaign.by_specialist} id={(line) => line.name} empty="No specialist has spoken yet." />
        </Panel>
      </div>
    </>
  );
}
