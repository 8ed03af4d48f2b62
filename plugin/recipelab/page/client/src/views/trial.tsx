// One trial, whole: why, what was changed, what was measured, and what led to it.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { Chart } from "../chart";
import { Diff } from "../diff";
import { NOTHING, chance, date, metricName, number, plusMinus, seconds, signed, words } from "../format";
import { KillButton } from "../controls";
import { Choice, Facts, Panel, Plain, Problem, StatusBadge, TrialLink, TrialLinks, Waiting } from "../parts";
import { href, setQuery } from "../route";
import type { Route } from "../route";
import { NotThere } from "../source";
import { useCampaign, useLoaded } from "../session";
import type { Session } from "../session";
import { Table } from "../table";
import type { Column } from "../table";
import type { Campaign, GateResult, Message, SeedRun, Trial, TrialRow } from "../types";
import { Said } from "./message";
import { SeedRuns } from "./seed_runs";

export function TrialView({ route }: { route: Route }): JSX.Element {
  const { session, campaign } = useCampaign();
  const wanted = Number(route.arg ?? campaign.best ?? 0);
  const row = session.byNumber.get(wanted);
  const { value, error } = useLoaded(() => session.trial(wanted), [session, wanted, row]);
  const at = session.rows.findIndex((one) => one.number === wanted);
  const before = at > 0 ? session.rows[at - 1] : session.rows.findLast((one) => one.number < wanted);
  const after = at >= 0 ? session.rows[at + 1] : undefined;
  const trial = value !== null && value.number === wanted && (row !== undefined || session.clock === null) ? value : null;
  return (
    <>
      <header class="trial-head">
        <div class="title">
          <h1>Trial {Number.isFinite(wanted) ? wanted : route.arg}</h1>
          {row && <StatusBadge row={row} />}
          <span class="spring" />
          <nav aria-label="Trials" class="keep-focus pager">
            {before ? <a href={href(session.name, "trial", before.number)} rel="prev">← {before.number}</a> : <span class="muted">←</span>}
            {after ? <a href={href(session.name, "trial", after.number)} rel="next">{after.number} →</a> : <span class="muted">→</span>}
            <a href={href(session.name, "compare", null, { a: String(campaign.best ?? 0), b: String(wanted) })}>compare</a>
          </nav>
        </div>
      </header>
      {error !== null && <Problem text={error} />}
      {session.clock !== null && row === undefined && error === null && <p class="muted">This trial is not proposed yet at this time.</p>}
      {trial ? <Whole trial={trial} route={route} /> : error === null && row !== undefined && <Waiting what={`trial ${wanted}`} />}
    </>
  );
}

function Whole({ trial, route }: { trial: Trial; route: Route }): JSX.Element {
  const { session, campaign } = useCampaign();
  return (
    <div class="grid trial">
      <Proposal trial={trial} campaign={campaign} rows={session.rows} live={session.source.mode === "live"} />
      <Verdict trial={trial} campaign={campaign} />
      {trial.failure !== null && <FailurePanel trial={trial} campaign={campaign} />}
      <Changes trial={trial} route={route} />
      {trial.seed_runs.length > 0 && <SeedRuns trial={trial} campaign={campaign} />}
      {trial.gates.length > 0 && <Gates gates={trial.gates} campaign={campaign} />}
      <Curves trial={trial} />
      <Phases runs={trial.seed_runs} />
      {trial.log_tail && <Panel title="End of its log" wide><Plain text={trial.log_tail} label="End of the log" tall /></Panel>}
      <Seen trial={trial} session={session} />
      <Led trial={trial} session={session} />
    </div>
  );
}

/** Trials made of a trial, and others made from its parent. */
function kinOf(trial: Trial, rows: TrialRow[]): { children: number[]; siblings: number[] } {
  const parent = trial.parents[0];
  const made = (from: number): number[] => rows.filter((row) => row.parents[0] === from || row.parents.includes(from)).map((row) => row.number);
  return {
    children: trial.children ?? made(trial.number),
    siblings: trial.siblings ?? (parent === undefined ? [] : made(parent).filter((number) => number !== trial.number)),
  };
}

function Proposal({ trial, campaign, rows, live }: { trial: Trial; campaign: Campaign; rows: TrialRow[]; live: boolean }): JSX.Element {
  const kin = useMemo(() => kinOf(trial, rows), [trial, rows]);
  return (
    <Panel title="Proposal" aside={live && trial.status === null && trial.state === "running" ? <KillButton trial={trial.number} /> : undefined}>
      <p class="hypothesis">{trial.hypothesis || "no hypothesis"}</p>
      <Facts
        items={[
          ["By", <>{trial.specialist} on {trial.surface}{trial.round !== null && <span class="muted">, round {trial.round}</span>}</>],
          ["Expected change", trial.expected_delta === null ? NOTHING : `${signed(trial.expected_delta)} ${campaign.metric.unit}`],
          ["Made from", <TrialLinks campaign={campaign.name} numbers={trial.parents} />],
          ["Made of it", <TrialLinks campaign={campaign.name} numbers={kin.children} />],
          ...(kin.siblings.length > 0 ? [["Beside it", <TrialLinks campaign={campaign.name} numbers={kin.siblings} />] as [string, JSX.Element]] : []),
          ["Proposed", date(trial.proposed_at)],
          ["Judged", trial.judged_at === null ? NOTHING : `${date(trial.judged_at)}, after ${seconds(trial.judged_at - trial.proposed_at)}`],
        ]}
      />
      {trial.knobs !== null && trial.knobs.length > 0 && (
        <ul class="knobs">
          {trial.knobs.map((knob) => (
            <li key={`${knob.path}${knob.name}`}><code>{knob.name}</code> {String(knob.before)} → <b>{String(knob.after)}</b> <span class="muted">{knob.path}</span></li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Verdict({ trial, campaign }: { trial: Trial; campaign: Campaign }): JSX.Element {
  const proof = trial.evidence;
  const { unit } = campaign.metric;
  const items: [string, JSX.Element | string][] = [];
  if (trial.score !== null) items.push([metricName(campaign.metric), plusMinus(trial.score, trial.score_se)]);
  if (trial.delta !== null) {
    const against = proof?.against;
    items.push(["Against the best then", <>{plusMinus(trial.delta, trial.delta_se, true)} {unit}{against !== undefined && <> over <TrialLink campaign={campaign.name} number={against} /></>}</>]);
  }
  if (proof) {
    if (proof.parent_delta !== null && proof.parent_delta !== undefined) items.push(["Against its parent", plusMinus(proof.parent_delta, proof.parent_delta_se, true)]);
    if (proof.screened !== undefined) items.push(["Seed runs", `${proof.screened} of ${proof.planned ?? NOTHING} screened${proof.confirmed ? `, ${proof.confirmed} fresh ones to confirm` : ""}${proof.stopped_early ? `, ${proof.stopped_early} stopped early` : ""}`]);
    if (proof.p !== null && proof.p !== undefined) items.push(["Test", `p ${chance(proof.p)}${proof.level === null || proof.level === undefined ? "" : `, has to be at most ${chance(proof.level)}`}`]);
    if (proof.same_as !== null && proof.same_as !== undefined) items.push(["Same recipe as", <TrialLink campaign={campaign.name} number={proof.same_as} />]);
    if (proof.rebased_from !== null && proof.rebased_from !== undefined) items.push(["Moved from", <TrialLink campaign={campaign.name} number={proof.rebased_from} />]);
    if (proof.deterministic) items.push(["Seeds", "it is the same for every seed"]);
  }
  if (trial.fixed_by && trial.fixed_by.length > 0) items.push(["Mended by", <TrialLinks campaign={campaign.name} numbers={trial.fixed_by} />]);
  if (trial.fixes && trial.fixes.length > 0) items.push(["Got past", <>{trial.fixes.map((what) => <a key={what} class="breakable" href={typeof what === "number" ? href(campaign.name, "trial", what) : href(campaign.name, "failures", null, { signature: what })}>{typeof what === "number" ? `#${what}` : what}</a>)}</>]);
  if (trial.environment) items.push(["Ran in", <span class="breakable">{trial.environment}</span>]);
  return (
    <Panel title="Verdict">
      <p class="hypothesis">{trial.status === null ? "Not judged yet." : trial.reason || words(trial.status)}</p>
      <Facts items={items} />
      {trial.words && trial.words.length > 0 && <ul class="words">{trial.words.map((text) => <li key={text}>{text}</li>)}</ul>}
    </Panel>
  );
}

function FailurePanel({ trial, campaign }: { trial: Trial; campaign: Campaign }): JSX.Element {
  const failure = trial.failure;
  if (failure === null) return <></>;
  return (
    <Panel title={`Failure: ${words(failure.kind)}`} wide aside={<a href={href(campaign.name, "failures", null, { signature: failure.signature })}>others like it</a>}>
      <p><code class="breakable">{failure.signature}</code> <span class="muted">{failure.phase === null ? "no sandbox was used" : `in ${words(failure.phase)}`}{failure.seed === null ? "" : `, seed ${failure.seed}`}</span></p>
      {failure.excerpt !== "" && <Plain text={failure.excerpt} label="Excerpt of the log" />}
    </Panel>
  );
}

function Changes({ trial, route }: { trial: Trial; route: Route }): JSX.Element {
  const fromStart = route.query.get("diff") === "start";
  const parent = trial.parents[0];
  return (
    <Panel
      title="Changes"
      wide
      aside={trial.diff_from_start !== null && (
        <Choice
          label="Against"
          value={fromStart ? "start" : "parent"}
          options={[["parent", parent === undefined ? "its parent" : `#${parent}`], ["start", "the start"]]}
          onChange={(to) => setQuery({ diff: to === "start" ? "start" : null })}
        />
      )}
    >
      <Diff diff={(fromStart ? trial.diff_from_start : trial.diff) ?? ""} empty={trial.number === 0 ? "The starting recipe as it is." : "No change of a file is known."} />
    </Panel>
  );
}

function Gates({ gates, campaign }: { gates: GateResult[]; campaign: Campaign }): JSX.Element {
  const units = new Map(campaign.gates.map((gate) => [gate.name, gate]));
  const columns: Column<GateResult>[] = [
    { key: "name", name: "Gate", kind: "row", show: (gate) => words(gate.name) },
    { key: "value", name: "Value", kind: "number", show: (gate) => `${number(gate.value)} ${units.get(gate.name)?.unit ?? ""}` },
    { key: "limit", name: "Limit", kind: "number", show: (gate) => number(gate.limit) },
    { key: "margin", name: "Margin", kind: "number", show: (gate) => plusMinus(gate.margin, gate.error, true) },
    { key: "passed", name: "", show: (gate) => (gate.margin >= 0 ? "passed" : <b class="missed">missed</b>) },
  ];
  return <Panel title="Gates"><Table label="Gates" columns={columns} rows={gates} id={(gate) => gate.name} /></Panel>;
}

const TONES = ["kept", "certified", "near", "muted", "failed"];

function Curves({ trial }: { trial: Trial }): JSX.Element {
  const curves = useMemo(() => {
    const lines = trial.curves?.length ? trial.curves : trial.curve?.length ? [{ seed: null, points: trial.curve }] : [];
    const x = [...new Set(lines.flatMap((line) => line.points.map(([at]) => at)))].sort((a, b) => a - b);
    return {
      x,
      lines: lines.map((line, i) => {
        const values = new Map(line.points);
        return { name: line.seed === null ? "curve" : `seed ${line.seed}`, tone: TONES[i % TONES.length] as string, kind: "line" as const, values: x.map((at) => values.get(at) ?? null) };
      }),
    };
  }, [trial]);
  if (curves.x.length < 2) return <></>;
  return (
    <Panel title="Training curve">
      <Chart label={`Training curve of trial ${trial.number}: ${curves.x.length} points`} x={curves.x} xName="progress" curves={curves.lines} height={200} />
    </Panel>
  );
}

interface PhaseLine {
  phase: string;
  runs: number;
  wall: number;
  cpu: number;
  memory: number | null;
}

function Phases({ runs }: { runs: SeedRun[] }): JSX.Element {
  const lines = useMemo(() => {
    const found = new Map<string, PhaseLine>();
    for (const run of runs) for (const timing of run.timings) {
      const line = found.get(timing.phase) ?? { phase: timing.phase, runs: 0, wall: 0, cpu: 0, memory: null };
      line.runs += 1;
      line.wall += timing.wall_seconds;
      line.cpu += timing.cpu_seconds;
      if (timing.peak_memory_mb !== null) line.memory = Math.max(line.memory ?? 0, timing.peak_memory_mb);
      found.set(timing.phase, line);
    }
    return [...found.values()];
  }, [runs]);
  if (lines.length === 0) return <></>;
  const columns: Column<PhaseLine>[] = [
    { key: "phase", name: "Phase", kind: "row", show: (line) => words(line.phase) },
    { key: "runs", name: "Runs", kind: "number", show: (line) => line.runs },
    { key: "wall", name: "Time, mean", kind: "number", show: (line) => seconds(line.wall / line.runs) },
    { key: "cpu", name: "CPU, mean", kind: "number", show: (line) => seconds(line.cpu / line.runs) },
    { key: "memory", name: "Peak MiB", kind: "number", show: (line) => (line.memory === null ? NOTHING : number(line.memory, 3)) },
  ];
  return <Panel title="Phases"><Table label="Phases" columns={columns} rows={lines} id={(line) => line.phase} /></Panel>;
}

function Seen({ trial, session }: { trial: Trial; session: Session }): JSX.Element {
  const hash = trial.view;
  const { value, error } = useLoaded(async () => {
    if (hash === null) return null;
    try {
      return await session.source.view(session.name, hash);
    } catch (reason) {
      if (reason instanceof NotThere) return null;
      throw reason;
    }
  }, [session, hash]);
  if (hash === null) return <Panel title="What the agent saw" wide><p class="muted">No view is stored: it was not proposed in a turn of a specialist.</p></Panel>;
  return (
    <Panel title="What the agent saw" wide aside={value && <span class="muted">first shown {date(value.first_used_at)}</span>}>
      {error !== null && <Problem text={error} />}
      {value ? <Plain text={value.text} label="The view of the lineage that opened the turn" tall /> : error === null && <p class="muted">This view is not stored.</p>}
    </Panel>
  );
}

const SPOKEN = 40;

function Led({ trial, session }: { trial: Trial; session: Session }): JSX.Element {
  const positions = trial.chat;
  const { value, error } = useLoaded(async () => {
    const found = await Promise.all(positions.slice(-SPOKEN).map((position) => session.message(position)));
    return found.filter((message): message is Message => message !== undefined);
  }, [session, positions.join()]);
  const first = positions[0];
  return (
    <Panel title="The talk that led to it" wide aside={first !== undefined && <a href={href(session.name, "chat", null, { at: String(first) })}>in the chat</a>}>
      {error !== null && <Problem text={error} />}
      {positions.length === 0 && <p class="muted">No message of the chat belongs to it.</p>}
      {positions.length > SPOKEN && <p class="muted">The last {SPOKEN} of {positions.length} messages.</p>}
      <ol class="talk">{(value ?? []).map((message) => <li key={message.position}><Said message={message} campaign={session.name} /></li>)}</ol>
    </Panel>
  );
}
