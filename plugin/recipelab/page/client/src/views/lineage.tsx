// All trials, as a tree and as a table of the same rows.

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { NOTHING, date, lookName, lookOf, metricName, number, plural, plusMinus, seconds, statusText, words } from "../format";
import type { Look } from "../format";
import { Choice, SearchField, Select, Sign, StatusBadge, TrialLink, TrialLinks } from "../parts";
import { go, href, setQuery } from "../route";
import type { Route } from "../route";
import { useCampaign } from "../session";
import { LongTable } from "../table";
import type { Column } from "../table";
import { FAILURE_GROUPS, TreeCanvas } from "../tree_canvas";
import type { Campaign, TrialRow } from "../types";

const MARKS: readonly (readonly [string, string])[] = [
  ["near", "near misses"],
  ["gain", "unproven gains"],
  ["certified", "certified"],
  ["flying", "in flight"],
];

/** Whether a row passes the filter of an address. */
function filterOf(query: URLSearchParams): (row: TrialRow) => boolean {
  const status = query.get("status");
  const surface = query.get("surface");
  const specialist = query.get("specialist");
  const text = query.get("text")?.toLowerCase() ?? "";
  return (row) => {
    if (surface !== null && row.surface !== surface) return false;
    if (specialist !== null && row.specialist !== specialist) return false;
    if (status !== null) {
      const look: Look = lookOf(row);
      const fits = status === "near" || status === "gain" || status === "certified" ? look === status : status === "flying" ? row.status === null : row.status === status;
      if (!fits) return false;
    }
    if (text === "") return true;
    return `#${row.number} ${row.hypothesis} ${row.reason} ${row.signature ?? ""} ${row.failure_kind ?? ""}`.toLowerCase().includes(text);
  };
}

function Filters({ route, campaign, rows, count }: { route: Route; campaign: Campaign; rows: TrialRow[]; count: number }): JSX.Element {
  const { query } = route;
  const { statuses, surfaces, specialists } = useMemo(() => {
    const counts = new Map<string, number>();
    const surface = new Set(campaign.surfaces);
    const specialist = new Set(campaign.specialists);
    for (const row of rows) {
      if (row.status !== null) counts.set(row.status, (counts.get(row.status) ?? 0) + 1);
      surface.add(row.surface);
      specialist.add(row.specialist);
    }
    return { statuses: [...counts], surfaces: [...surface], specialists: [...specialist] };
  }, [rows, campaign.surfaces, campaign.specialists]);
  const one = (name: string): string => query.get(name) ?? "";
  const names = (values: string[], all: string): [string, string][] => [["", all], ...values.filter((value) => value !== "").sort().map((value): [string, string] => [value, value])];
  return (
    <div class="filters">
      <SearchField label="Text" value={one("text")} onChange={(value) => setQuery({ text: value || null })} />
      <Select label="Status" value={one("status")} options={[["", "all"], ...statuses.map(([name, many]): [string, string] => [name, `${words(name)} (${many})`]), ...MARKS]} onChange={(value) => setQuery({ status: value || null })} />
      <Select label="Surface" value={one("surface")} options={names(surfaces, "all")} onChange={(value) => setQuery({ surface: value || null })} />
      <Select label="Specialist" value={one("specialist")} options={names(specialists, "all")} onChange={(value) => setQuery({ specialist: value || null })} />
      <Choice label="Show as" value={one("as") === "table" ? "table" : "tree"} options={[["tree", "tree"], ["table", "table"]]} onChange={(to) => setQuery({ as: to === "table" ? "table" : null })} />
      <p class="muted count-of" role="status">{count === rows.length ? plural(count, "trial") : `${count} of ${plural(rows.length, "trial")}`}</p>
    </div>
  );
}

const LEGEND: Look[] = ["certified", "kept", "unproven", "baseline", "near", "gain", "discarded", "running", "queued"];

function Legend(): JSX.Element {
  return (
    <ul class="tree-legend" aria-label="Signs of the tree">
      {LEGEND.map((look) => <li key={look} class={`look-${look}`}><Sign look={look} /> {lookName(look)}</li>)}
      {FAILURE_GROUPS.map((group) => <li key={group} class={`fail-${group}`}><Sign look="failed" /> failed: {group}</li>)}
    </ul>
  );
}

/** What is known of the trial that is chosen in the tree. */
function Chosen({ row, campaign }: { row: TrialRow | undefined; campaign: Campaign }): JSX.Element {
  return (
    <div class="chosen" aria-live="polite">
      {row ? (
        <>
          <TrialLink campaign={campaign.name} number={row.number}>Trial {row.number}</TrialLink>
          <StatusBadge row={row} />
          <span>{row.failure_kind ? words(row.failure_kind) : row.delta === null ? "" : plusMinus(row.delta, row.delta_se, true)}</span>
          <span class="muted">{row.specialist} on {row.surface}</span>
          <span class="what">{row.hypothesis}</span>
        </>
      ) : <span class="muted">Click a trial, or walk the tree by arrow keys. A second click opens it.</span>}
    </div>
  );
}

function columnsOf(campaign: Campaign): Column<TrialRow>[] {
  return [
    { key: "number", name: "Trial", kind: "row", by: (row) => row.number, show: (row) => <TrialLink campaign={campaign.name} number={row.number} /> },
    { key: "status", name: "Status", by: (row) => statusText(row), show: (row) => <StatusBadge row={row} /> },
    { key: "kind", name: "Failure", by: (row) => row.failure_kind, show: (row) => (row.failure_kind ? words(row.failure_kind) : "") },
    { key: "surface", name: "Surface", by: (row) => row.surface, show: (row) => row.surface },
    { key: "specialist", name: "By", by: (row) => row.specialist, show: (row) => row.specialist },
    { key: "score", name: metricName(campaign.metric), kind: "number", by: (row) => row.score, show: (row) => number(row.score) },
    { key: "delta", name: "Change", kind: "number", by: (row) => row.delta, show: (row) => (row.delta === null ? NOTHING : plusMinus(row.delta, row.delta_se, true)) },
    { key: "parents", name: "From", kind: "number", by: (row) => row.parents[0] ?? null, show: (row) => <TrialLinks campaign={campaign.name} numbers={row.parents} most={2} /> },
    { key: "cpu", name: "CPU", kind: "number", by: (row) => row.cpu_seconds, show: (row) => seconds(row.cpu_seconds) },
    { key: "proposed", name: "Proposed", by: (row) => row.proposed_at, show: (row) => date(row.proposed_at) },
    { key: "hypothesis", name: "Hypothesis", kind: "wide", by: (row) => row.hypothesis, show: (row) => <span title={row.hypothesis}>{row.hypothesis}</span> },
  ];
}

export function Lineage({ route }: { route: Route }): JSX.Element {
  const { session, campaign } = useCampaign();
  const key = ["status", "surface", "specialist", "text"].map((name) => route.query.get(name) ?? "").join("\n");
  const filtered = key.trim() !== "";
  const fits = useMemo(() => filterOf(route.query), [key]);
  const rows = session.rows;
  const shown = useMemo(() => (filtered ? rows.filter(fits) : rows), [rows, fits, filtered]);
  const columns = useMemo(() => columnsOf(campaign), [campaign.name, campaign.metric]);
  const [selected, setSelected] = useState<number | null>(null);
  const table = route.query.get("as") === "table";
  return (
    <>
      <h1>Lineage</h1>
      <Filters route={route} campaign={campaign} rows={rows} count={shown.length} />
      {table ? (
        <LongTable
          label="Trials"
          columns={columns}
          rows={shown}
          id={(row) => row.number}
          sort={route.query.get("sort") ?? "number"}
          onSort={(sort) => setQuery({ sort: sort === "number" ? null : sort })}
          empty="No trial fits the filter."
        />
      ) : (
        <>
          <TreeCanvas rows={rows} head={campaign.best} fits={fits} filtered={filtered} selected={selected} onSelect={setSelected} onOpen={(trial) => go(href(campaign.name, "trial", trial))} />
          <Chosen row={session.byNumber.get(selected ?? -1)} campaign={campaign} />
          <Legend />
        </>
      )}
    </>
  );
}
