// Two trials side by side, two campaigns in one chart, arms in one table.

import type { ComponentChildren, JSX } from "preact";
import { useMemo } from "preact/hooks";
import { Chart } from "../chart";
import type { Curve } from "../chart";
import { Diff } from "../diff";
import { NOTHING, metricName, number, plusMinus, seconds, signed, whole, words } from "../format";
import { moments } from "../line";
import { Choice, Panel, Problem, Select, StatusBadge, TrialLink, TrialLinks, Waiting } from "../parts";
import { href, setQuery } from "../route";
import type { Route } from "../route";
import { rowsOf, useCampaign, useLoaded } from "../session";
import { Table } from "../table";
import type { Column } from "../table";
import type { Arm, Campaign, CampaignLine, Trial, TrialRow } from "../types";

interface Fact {
  name: string;
  a: ComponentChildren;
  b: ComponentChildren;
  change?: number | null;
}

function mean(trial: Trial, measure: string): number | null {
  const values = trial.seed_runs.map((run) => run.measures[measure]).filter((value) => value !== undefined);
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function facts(a: Trial, b: Trial, campaign: Campaign): Fact[] {
  const each = (name: string, show: (trial: Trial) => ComponentChildren, take?: (trial: Trial) => number | null): Fact => {
    const [one, two] = take ? [take(a), take(b)] : [null, null];
    return { name, a: show(a), b: show(b), change: one === null || two === null ? null : two - one };
  };
  const gate = (trial: Trial, name: string): number | null => trial.gates.find((one) => one.name === name)?.value ?? null;
  const gates = [...new Set([...a.gates, ...b.gates].map((one) => one.name))];
  const skip = new Set([...gates, campaign.metric.name, `score.${campaign.metric.name}`, "metric"]);
  const measures = [...new Set([...a.seed_runs, ...b.seed_runs].flatMap((run) => Object.keys(run.measures)))].filter((name) => !name.startsWith("beside.") && !skip.has(name));
  return [
    each("status", (trial) => <StatusBadge row={trial} />),
    each("by", (trial) => `${trial.specialist} on ${trial.surface}`),
    each("made from", (trial) => <TrialLinks campaign={campaign.name} numbers={trial.parents} />),
    each(metricName(campaign.metric), (trial) => plusMinus(trial.score, trial.score_se), (trial) => trial.score),
    each("change against the best then", (trial) => plusMinus(trial.delta, trial.delta_se, true)),
    each("seed runs", (trial) => whole(trial.seed_runs.length), (trial) => trial.seed_runs.length),
    ...gates.map((name) => each(`gate ${words(name)}`, (trial) => number(gate(trial, name)), (trial) => gate(trial, name))),
    ...measures.slice(0, 24).map((name) => each(name, (trial) => number(mean(trial, name)), (trial) => mean(trial, name))),
    each("hypothesis", (trial) => trial.hypothesis),
  ];
}

function TwoTrials({ route }: { route: Route }): JSX.Element {
  const { session, campaign } = useCampaign();
  const fallback = campaign.best ?? 0;
  const parse = (name: string, other: number): number => {
    const text = route.query.get(name);
    return text === null || !/^\d+$/.test(text) ? other : Number(text);
  };
  const [first, second] = [parse("a", 0), parse("b", fallback)];
  const rows = [session.byNumber.get(first), session.byNumber.get(second)];
  const { value, error } = useLoaded(() => Promise.all([session.trial(first), session.trial(second)]), [session, first, second, ...rows]);
  const options = useMemo(() => session.rows.filter((row) => row.status === "kept" || row.status === "baseline" || row.number === first || row.number === second).map((row) => [String(row.number), `#${row.number} ${row.surface}`] as const), [session.rows, first, second]);
  const pick = (name: "a" | "b", label: string, chosen: number): JSX.Element => (
    <>
      <Select label={label} value={String(chosen)} options={options} onChange={(to) => setQuery({ [name]: to })} />
      <NumberField label={`${label}, by number`} value={chosen} onChange={(to) => setQuery({ [name]: to })} />
    </>
  );
  return (
    <Panel title="Two trials" wide>
      <div class="filters">{pick("a", "A", first)}{pick("b", "B", second)}</div>
      {error !== null && <Problem text={error} />}
      {value === null ? error === null && <Waiting what="both trials" /> : <Beside a={value[0]} b={value[1]} campaign={campaign} />}
    </Panel>
  );
}

function NumberField({ label, value, onChange }: { label: string; value: number; onChange: (value: string) => void }): JSX.Element {
  return (
    <label class="field">
      <span>{label}</span>
      <input type="number" min={0} value={value} onChange={(event) => onChange(event.currentTarget.value.replace(/\D/g, ""))} />
    </label>
  );
}

function Beside({ a, b, campaign }: { a: Trial; b: Trial; campaign: Campaign }): JSX.Element {
  const columns: Column<Fact>[] = [
    { key: "name", name: "", kind: "row", show: (fact) => fact.name },
    { key: "a", name: `A: #${a.number}`, kind: "text", show: (fact) => fact.a },
    { key: "b", name: `B: #${b.number}`, kind: "text", show: (fact) => fact.b },
    { key: "change", name: "B − A", kind: "number", show: (fact) => (fact.change === null || fact.change === undefined ? "" : signed(fact.change)) },
  ];
  const link = (trial: Trial): JSX.Element => <TrialLink campaign={campaign.name} number={trial.number} />;
  const direct = b.parents[0] === a.number ? b.diff : a.number === 0 ? b.diff_from_start : null;
  return (
    <>
      <Table label="Two trials" columns={columns} rows={facts(a, b, campaign)} id={(fact) => fact.name} />
      {direct !== null ? (
        <>
          <h3>From {link(a)} to {link(b)}</h3>
          <Diff diff={direct} empty="Their recipes are the same." />
        </>
      ) : (
        <div class="two">
          <div><h3>{link(a)} against the start</h3><Diff diff={a.diff_from_start ?? a.diff} empty="The starting recipe." /></div>
          <div><h3>{link(b)} against the start</h3><Diff diff={b.diff_from_start ?? b.diff} empty="The starting recipe." /></div>
        </div>
      )}
    </>
  );
}

interface Ran {
  campaign: Campaign;
  rows: TrialRow[];
}

/** Best-so-far curves of campaigns on one axis. */
function together(ran: Ran[], against: "trials" | "hours"): { x: number[]; curves: Curve[] } {
  const lines = ran.map(({ campaign, rows }) => moments(rows, campaign).map((moment) => ({
    x: against === "trials" ? moment.judged : moment.deviceHours,
    head: moment.head?.score ?? null,
    sure: moment.certified?.score ?? null,
  })));
  const x = [...new Set(lines.flatMap((line) => line.map((point) => point.x)))].sort((a, b) => a - b);
  const along = (line: (typeof lines)[number], take: "head" | "sure"): (number | null)[] => {
    const last = line.at(-1)?.x ?? -1;
    let next = 0;
    let value: number | null = null;
    return x.map((at) => {
      while (next < line.length && (line[next]?.x ?? Infinity) <= at) value = line[next++]?.[take] ?? value;
      return at <= last ? value : null;
    });
  };
  const tones = ["certified", "near"];
  return {
    x,
    curves: ran.flatMap(({ campaign }, i): Curve[] => [
      { name: `${campaign.name}, line`, tone: tones[i] ?? "muted", kind: "step", dash: [3, 3], values: along(lines[i] ?? [], "head") },
      { name: `${campaign.name}, certified`, tone: tones[i] ?? "muted", kind: "step", width: 2.5, values: along(lines[i] ?? [], "sure") },
    ]),
  };
}

function TwoCampaigns({ route }: { route: Route }): JSX.Element {
  const { session, campaign } = useCampaign();
  const { value: all } = useLoaded(() => session.source.campaigns(), [session]);
  const others = (all ?? []).filter((one) => one.name !== session.name);
  const other = route.query.get("with") ?? "";
  const against = route.query.get("against") === "hours" ? "hours" : "trials";
  const { value, error } = useLoaded(async (): Promise<Ran | null> => {
    if (other === "") return null;
    const [its, table] = await Promise.all([session.source.campaign(other), session.source.trials(other)]);
    return { campaign: its, rows: rowsOf(table) };
  }, [session, other]);
  const chart = useMemo(() => (value === null ? null : together([{ campaign, rows: session.rows }, value], against)), [value, session.rows, campaign, against]);
  const foreign = value !== null && (value.campaign.pack !== campaign.pack || value.campaign.profile !== campaign.profile);
  const columns: Column<Ran>[] = [
    { key: "name", name: "Campaign", kind: "row", show: (ran) => ran.campaign.name },
    { key: "model", name: "Model", show: (ran) => ran.campaign.model },
    { key: "baseline", name: "Baseline", kind: "number", show: (ran) => number(ran.rows.find((row) => row.number === ran.campaign.baseline)?.score) },
    { key: "certified", name: "Certified", kind: "number", show: (ran) => number(ran.rows.find((row) => row.number === ran.campaign.certified)?.score) },
    { key: "line", name: "Line", kind: "number", show: (ran) => number(ran.rows.find((row) => row.number === ran.campaign.best)?.score) },
    { key: "trials", name: "Trials", kind: "number", show: (ran) => whole(ran.rows.length - 1) },
    { key: "kept", name: "Kept", kind: "number", show: (ran) => whole(ran.rows.filter((row) => row.status === "kept").length) },
    { key: "cpu", name: "CPU", kind: "number", show: (ran) => seconds(ran.rows.reduce((sum, row) => sum + row.cpu_seconds, 0)) },
  ];
  return (
    <Panel title="Two campaigns" wide aside={<Choice label="Against" value={against} options={[["trials", "trials"], ["hours", "device-hours"]]} onChange={(to) => setQuery({ against: to === "hours" ? "hours" : null })} />}>
      {all !== null && others.length === 0 ? <p class="muted">There is no other campaign here.</p> : (
        <div class="filters"><Select label="With" value={other} options={[["", "choose one"], ...others.map((one) => [one.name, one.name] as const)]} onChange={(to) => setQuery({ with: to || null })} /></div>
      )}
      {error !== null && <Problem text={error} />}
      {foreign && <p class="banner warn">They measure different things: {campaign.pack}, {campaign.profile} and {value.campaign.pack}, {value.campaign.profile}. Their scores are not comparable.</p>}
      {chart !== null && value !== null && (
        <>
          <Chart label={`Best so far of ${campaign.name} and ${value.campaign.name}; the table has the figures`} x={chart.x} xName={against === "trials" ? "trials judged" : "device-hours"} curves={chart.curves} height={280} />
          <Table label="Two campaigns" columns={columns} rows={[{ campaign, rows: session.rows }, value]} id={(ran) => ran.campaign.name} />
        </>
      )}
    </Panel>
  );
}

function Arms({ arms }: { arms: Arm[] }): JSX.Element {
  const { session } = useCampaign();
  const { value: all } = useLoaded(() => session.source.campaigns(), [session]);
  const line = (arm: Arm): CampaignLine | undefined => all?.find((one) => one.name === arm.name);
  const columns: Column<Arm>[] = [
    { key: "arm", name: "Arm", kind: "row", by: (arm) => arm.arm, show: (arm) => arm.arm },
    { key: "seed", name: "Seed", kind: "number", by: (arm) => arm.seed, show: (arm) => arm.seed },
    { key: "name", name: "Campaign", by: (arm) => arm.name, show: (arm) => (line(arm) ? <a href={href(arm.name)}>{arm.name}</a> : arm.name) },
    { key: "model", name: "Model", by: (arm) => arm.model, show: (arm) => arm.model },
    { key: "trials", name: "Trials", kind: "number", by: (arm) => line(arm)?.trials ?? null, show: (arm) => whole(line(arm)?.trials) },
    { key: "gain", name: "Best gain", kind: "number", by: (arm) => line(arm)?.best_gain ?? null, show: (arm) => (typeof line(arm)?.best_gain === "number" ? `${signed(line(arm)?.best_gain)} %` : NOTHING) },
  ];
  return (
    <Panel title="Arms" wide>
      <Table label="Arms" columns={columns} rows={arms} id={(arm) => arm.name} sort="arm" current={(arm) => arm.name === session.name} />
      <p class="muted small">Campaigns on the same pack and profile. recipelab ablate --arms tests their differences.</p>
    </Panel>
  );
}

export function Compare({ route }: { route: Route }): JSX.Element {
  const { campaign } = useCampaign();
  return (
    <>
      <h1>Compare</h1>
      <div class="grid">
        <TwoTrials route={route} />
        <TwoCampaigns route={route} />
        {campaign.arms !== null && campaign.arms.length > 1 && <Arms arms={campaign.arms} />}
      </div>
    </>
  );
}
