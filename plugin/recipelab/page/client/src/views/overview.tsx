// How the campaign stands: its best, its budget, what runs now, and what people told it.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { Chart } from "../chart";
import type { ChartProps, Curve } from "../chart";
import { Notes } from "../controls";
import { NOTHING, chance, interval, metricName, number, plural, plusMinus, seconds, signed, whole, words } from "../format";
import { judged, moments } from "../line";
import { Choice, Facts, Meter, Panel, StatusBadge, TrialLink } from "../parts";
import { go, href, setQuery, useRoute } from "../route";
import { useCampaign } from "../session";
import type { Session } from "../session";
import type { BudgetLine, Campaign, TrialRow } from "../types";
import { NowPanel } from "./now";

const Z = 1.96;

function percent(value: number | null, from: number | null): string {
  if (value === from) return "";
  if (value === null || from === null || from === 0) return "";
  return ` · ${signed((100 * (value - from)) / Math.abs(from), 2)} %`;
}

function Figure(props: { name: string; value: string; unit?: string; lines: (JSX.Element | string)[]; tone?: string }): JSX.Element {
  return (
    <div class={`figure ${props.tone ?? ""}`}>
      <h2>{props.name}</h2>
      <p class="value">{props.value}{props.unit ? <span class="unit"> {props.unit}</span> : null}</p>
      {props.lines.map((line, i) => <p key={i} class="muted">{line}</p>)}
    </div>
  );
}

/** The interval of the gain that certified a trial, from its checkpoint or its certificate. */
function provenGain(campaign: Campaign, trial: number): string | null {
  const test = campaign.checkpoints.findLast((one) => one.held && one.trial === trial);
  if (!test || test.delta_low === null) return null;
  return `${interval(test.delta_low, test.delta_high)} over #${test.against}, p ${chance(test.p)}`;
}

function Figures({ campaign, byNumber, rows }: { campaign: Campaign; byNumber: Map<number, TrialRow>; rows: TrialRow[] }): JSX.Element {
  const start = byNumber.get(campaign.baseline ?? 0);
  const certified = campaign.certified === null ? undefined : byNumber.get(campaign.certified);
  const head = campaign.best === null ? undefined : byNumber.get(campaign.best);
  const { unit } = campaign.metric;
  const from = start?.score ?? null;
  const counts = { kept: 0, discarded: 0, failed: 0, flying: 0 };
  for (const row of rows) {
    if (row.status === null) counts.flying += 1;
    else if (row.status === "kept") counts.kept += 1;
    else if (row.status === "discarded") counts.discarded += 1;
    else if (row.status !== "baseline") counts.failed += 1;
  }
  const proven = certified ? provenGain(campaign, certified.number) : null;
  const link = (row: TrialRow): JSX.Element => <TrialLink campaign={campaign.name} number={row.number}>trial {row.number}</TrialLink>;
  return (
    <div class="figures">
      <Figure name="Baseline" value={number(from)} unit={from === null ? "" : unit} lines={[from === null ? "not measured yet" : plusMinus(from, start?.score_se ?? null), "the starting recipe"]} />
      <Figure
        name="Certified best"
        tone={certified && certified.number !== 0 ? "good" : ""}
        value={certified && certified.number !== 0 ? number(certified.score) : NOTHING}
        unit={certified && certified.number !== 0 ? unit : ""}
        lines={certified && certified.number !== 0
          ? [<>{link(certified)} {plusMinus(certified.score, certified.score_se)} {percent(certified.score, from)}</>, proven ?? "proven on fresh seeds"]
          : ["no gain is certified yet", "one is claimed when a checkpoint holds"]}
      />
      <Figure
        name="Working line"
        value={head ? number(head.score) : NOTHING}
        unit={head ? unit : ""}
        lines={head
          ? [<>{link(head)} {plusMinus(head.score, head.score_se)} {percent(head.score, from)}</>, head.number === 0 ? "the start" : head === certified ? "the same as the certified best" : `${words(head.standing ?? "kept")}: trials have to beat it`]
          : ["no trial is kept yet"]}
      />
      <Figure
        name="Trials"
        value={whole(Math.max(0, rows.length - 1))}
        lines={[`${whole(counts.kept)} kept · ${whole(counts.discarded)} discarded · ${whole(counts.failed)} failed`, counts.flying > 0 ? `${whole(counts.flying)} in flight` : "none in flight"]}
      />
    </div>
  );
}

/** The chart of the working line and the certified best against what was spent. */
export function lineCurves(rows: TrialRow[], campaign: Campaign, against: "trials" | "hours"): { props: Omit<ChartProps, "label">; picked: (TrialRow | null)[] } {
  const all = moments(rows, campaign);
  const x = all.map((moment) => (against === "trials" ? moment.judged : moment.deviceHours));
  const column = (take: (moment: (typeof all)[number]) => number | null): (number | null)[] => all.map(take);
  const low = (row: TrialRow | null, sign: number): number | null => (row === null || row.score === null ? null : row.score + sign * Z * (row.score_se ?? 0));
  const base = rows.find((row) => row.number === (campaign.baseline ?? 0))?.score ?? null;
  const curves: Curve[] = [
    { name: "certified, upper", tone: "certified", kind: "hidden", values: column((m) => low(m.certified, 1)) },
    { name: "certified, lower", tone: "certified", kind: "hidden", values: column((m) => low(m.certified, -1)) },
    { name: "line, upper", tone: "kept", kind: "hidden", values: column((m) => low(m.head, 1)) },
    { name: "line, lower", tone: "kept", kind: "hidden", values: column((m) => low(m.head, -1)) },
    { name: "trials", tone: "faint-ink", kind: "points", values: column((m) => (m.row && m.row.status !== "kept" ? m.row.score : null)) },
    { name: "baseline", tone: "muted", kind: "line", dash: [4, 4], width: 1, values: column(() => base) },
    { name: "working line", tone: "kept", kind: "step", width: 1.5, values: column((m) => m.head?.score ?? null) },
    { name: "certified best", tone: "certified", kind: "step", width: 2.5, values: column((m) => m.certified?.score ?? null) },
    { name: "kept", tone: "kept", kind: "points", values: column((m) => (m.row?.status === "kept" ? m.row.score : null)) },
  ];
  return {
    props: {
      x,
      xName: against === "trials" ? "trials judged" : "device-hours",
      curves,
      bands: [{ upper: 0, lower: 1, tone: "certified" }, { upper: 2, lower: 3, tone: "kept" }],
      range: yRange(rows, all.map((moment) => moment.head?.score ?? null), campaign.metric.goal),
    },
    picked: all.map((moment) => moment.row),
  };
}

/** Ends of the y axis that show the line whole, and of the trials that fell far behind only some. */
function yRange(rows: TrialRow[], line: (number | null)[], goal: "minimize" | "maximize"): [number, number] | undefined {
  const heads = line.filter((value) => value !== null);
  const scores = rows.map((row) => row.score).filter((value) => value !== null).sort((a, b) => a - b);
  if (heads.length === 0 || scores.length === 0) return undefined;
  const at = (share: number): number => scores[Math.round(share * (scores.length - 1))] as number;
  let low = Math.min(heads.reduce((least, value) => Math.min(least, value), Infinity), at(goal === "maximize" ? 0.1 : 0));
  let high = Math.max(heads.reduce((top, value) => Math.max(top, value), -Infinity), at(goal === "minimize" ? 0.9 : 1));
  const widest = rows.reduce((most, row) => (row.status === "kept" ? Math.max(most, Z * (row.score_se ?? 0)) : most), 0);
  low -= widest;
  high += widest;
  const room = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - room, high + room];
}

/** What a replay comes to in the end, so that its chart grows within a frame that stands still. */
function wholeOf(session: Session, against: "trials" | "hours"): { xEnd: number; range: [number, number] | undefined } | null {
  const { whole } = session;
  if (whole === null) return null;
  const { props } = lineCurves(whole.rows, whole.campaign, against);
  return { xEnd: props.x.at(-1) ?? 1, range: props.range };
}

function LinePanel({ session, campaign, rows }: { session: Session; campaign: Campaign; rows: TrialRow[] }): JSX.Element {
  const { query } = useRoute();
  const against = query.get("against") === "hours" ? "hours" : "trials";
  const { props, picked } = useMemo(() => lineCurves(rows, campaign, against), [rows, campaign.checkpoints.length, campaign.baseline, against]);
  const start = rows.find((row) => row.number === campaign.baseline);
  const frame = useMemo(() => wholeOf(session, against), [session, session.whole, against]);
  const best = rows.find((row) => row.number === campaign.best);
  const sure = rows.find((row) => row.number === campaign.certified);
  const label = `${metricName(campaign.metric)} against ${props.xName}: baseline ${number(start?.score)}, working line ${number(best?.score)}, certified best ${number(sure?.score)}. The table of trials has every value.`;
  return (
    <Panel
      title={metricName(campaign.metric)}
      wide
      aside={<>
        <span class="muted">{campaign.metric.goal === "minimize" ? "lower is better" : "higher is better"}</span>
        <Choice label="Against" value={against} options={[["trials", "trials"], ["hours", "device-hours"]]} onChange={(to) => setQuery({ against: to === "hours" ? "hours" : null })} />
      </>}
    >
      <Chart {...props} {...frame} label={label} height={280} onPick={(index) => { const row = picked[index]; if (row) go(href(campaign.name, "trial", row.number)); }} />
      <p class="muted small">Bands are 95 % intervals of the scores. A click on a point opens the trial nearest to it.</p>
    </Panel>
  );
}

function amount(value: number | null, line: BudgetLine): string {
  if (value === null) return NOTHING;
  if (/hours/.test(line.kind)) return seconds(value * 3600);
  return `${line.kind === "money" ? number(value, 3) : whole(value)}${line.unit && line.unit !== line.kind ? ` ${line.unit}` : ""}`;
}

function BudgetPanel({ budget }: { budget: BudgetLine[] }): JSX.Element {
  return (
    <Panel title="Budget">
      {budget.length === 0 && <p class="muted">No budget is known.</p>}
      <ul class="budget">
        {budget.map((line) => (
          <li key={line.kind}>
            <span>{words(line.kind)}</span>
            <span class="amount">{amount(line.used, line)}<span class="muted">{line.limit === null ? ", no limit" : ` of ${amount(line.limit, line)}`}</span></span>
            {line.limit !== null && line.used !== null ? <Meter label={words(line.kind)} value={line.used} max={line.limit} /> : null}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Latest({ campaign, rows }: { campaign: Campaign; rows: TrialRow[] }): JSX.Element {
  const latest = useMemo(() => judged(rows).slice(-8).reverse(), [rows]);
  return (
    <Panel title="Judged last" aside={<a href={href(campaign.name, "lineage", null, { as: "table" })}>all trials</a>}>
      {latest.length === 0 && <p class="muted">No trial has ended yet.</p>}
      <ul class="latest">
        {latest.map((row) => (
          <li key={row.number}>
            <TrialLink campaign={campaign.name} number={row.number} />
            <StatusBadge row={row} short />
            <span class="delta">{row.delta === null ? "" : signed(row.delta)}</span>
            <span class="what"><span class="muted">{row.surface}</span> {row.hypothesis}</span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Setup({ campaign }: { campaign: Campaign }): JSX.Element {
  const { noise, metric } = campaign;
  return (
    <Panel title="What is measured">
      <Facts
        items={[
          ["Metric", `${metricName(metric)}: ${metric.goal}`],
          ["Noise", noise === null || noise.sd === null ? NOTHING : `sd ${number(noise.sd, 2)} of a seed run${noise.seeds === null ? "" : `, from ${plural(noise.seeds, "run")}`}`],
          ["Smallest visible gain", noise === null ? NOTHING : number(noise.smallest_visible, 2)],
          ...(campaign.trust ? [["Trust", campaign.trust] as [string, string]] : []),
          ["Surfaces", campaign.surfaces.join(", ") || NOTHING],
          ["Specialists", campaign.specialists.join(", ") || NOTHING],
          ...(campaign.stop_reason ? [["Ended", campaign.stop_reason] as [string, string]] : []),
        ]}
      />
      {campaign.gates.length > 0 && (
        <ul class="gates-short">
          {campaign.gates.map((gate) => (
            <li key={gate.name}><span>{words(gate.name)}</span> <span class="muted">{`${gate.at_most ? "at most" : "at least"} ${number(gate.limit)} ${gate.unit}`.trim()}{gate.baseline !== null && `, the start has ${number(gate.baseline)}`}</span></li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

export function Overview(): JSX.Element {
  const { session, campaign } = useCampaign();
  return (
    <>
      <h1 class="unseen">Overview of {campaign.name}</h1>
      <Figures campaign={campaign} byNumber={session.byNumber} rows={session.rows} />
      <LinePanel session={session} campaign={campaign} rows={session.rows} />
      <div class="columns">
        <div class="column">
          <NowPanel />
          <Latest campaign={campaign} rows={session.rows} />
        </div>
        <div class="column">
          <BudgetPanel budget={campaign.budget} />
          <Panel title="Notes from people"><Notes /></Panel>
          <Setup campaign={campaign} />
        </div>
      </div>
    </>
  );
}
