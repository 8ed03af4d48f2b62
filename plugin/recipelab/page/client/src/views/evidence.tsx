// What is claimed and how well it is proven: confirmations, checkpoints, certificates.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { NOTHING, chance, date, interval, number, plusMinus, whole, words } from "../format";
import { Facts, Meter, Panel, Problem, StatusBadge, TrialLink } from "../parts";
import { useCampaign, useLoaded } from "../session";
import { Table } from "../table";
import type { Column } from "../table";
import type { Campaign, CertificateLine, CheckpointLine, Trial, TrialRow } from "../types";

function plain(value: unknown): string {
  if (value === null || value === undefined) return NOTHING;
  if (typeof value === "number") return number(value, 3);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function Promise_({ campaign }: { campaign: Campaign }): JSX.Element {
  const { evidence } = campaign;
  if (evidence === null) return <p class="muted">No promise is made: the policy of this campaign tests nothing.</p>;
  const limit = evidence["false_claim_budget"];
  const spent = evidence["spent"];
  return (
    <>
      {typeof limit === "number" && <p>If nothing were ever better, the chance to claim anything would be at most {number(100 * limit, 2)} % over the whole campaign.</p>}
      {typeof limit === "number" && typeof spent === "number" && <Meter label="False-claim budget spent" value={spent} max={limit} />}
      <Facts items={Object.entries(evidence).map(([name, value]) => [words(name), plain(value)])} />
    </>
  );
}

const MOST = 60;

/** Trials that were tested by themselves: kept ones, and those that nearly were. */
function Confirmations({ rows }: { rows: TrialRow[] }): JSX.Element {
  const { session, campaign } = useCampaign();
  const wanted = useMemo(() => rows.filter((row) => row.status === "kept" || row.unproven_gain).slice(-MOST).map((row) => row.number), [rows]);
  const { value, error } = useLoaded(() => Promise.all(wanted.map((number) => session.trial(number))), [session, wanted.join()]);
  const columns: Column<Trial>[] = [
    { key: "trial", name: "Trial", kind: "row", by: (trial) => trial.number, show: (trial) => <TrialLink campaign={campaign.name} number={trial.number} /> },
    { key: "status", name: "Status", by: (trial) => trial.status, show: (trial) => <StatusBadge row={trial} /> },
    { key: "against", name: "Against", kind: "number", show: (trial) => (trial.evidence?.against === undefined ? NOTHING : <TrialLink campaign={campaign.name} number={trial.evidence.against} />) },
    { key: "delta", name: "Change", kind: "number", by: (trial) => trial.delta, show: (trial) => plusMinus(trial.delta, trial.delta_se, true) },
    { key: "screened", name: "Screened", kind: "number", by: (trial) => trial.evidence?.screened ?? null, show: (trial) => `${whole(trial.evidence?.screened)} of ${whole(trial.evidence?.planned)}` },
    { key: "confirmed", name: "Fresh seeds", kind: "number", by: (trial) => trial.evidence?.confirmed ?? null, show: (trial) => whole(trial.evidence?.confirmed) },
    { key: "p", name: "p", kind: "number", by: (trial) => trial.evidence?.p ?? null, show: (trial) => chance(trial.evidence?.p) },
    { key: "level", name: "Level", kind: "number", by: (trial) => trial.evidence?.level ?? null, show: (trial) => chance(trial.evidence?.level) },
  ];
  if (error !== null) return <Problem text={error} />;
  return <Table label="Confirmations" columns={columns} rows={value ?? []} id={(trial) => trial.number} sort="-trial" empty="No trial is kept yet." />;
}

export function EvidenceView(): JSX.Element {
  const { session, campaign } = useCampaign();
  const link = (trial: number): JSX.Element => <TrialLink campaign={campaign.name} number={trial} />;
  const checkpoints: Column<CheckpointLine>[] = [
    { key: "position", name: "No.", kind: "row", by: (test) => test.position, show: (test) => test.position + 1 },
    { key: "at", name: "Made", by: (test) => test.made_at, show: (test) => date(test.made_at) },
    { key: "trial", name: "Head", kind: "number", by: (test) => test.trial, show: (test) => link(test.trial) },
    { key: "against", name: "Against", kind: "number", by: (test) => test.against, show: (test) => link(test.against) },
    { key: "ended", name: "Ended", by: (test) => (test.held ? 0 : test.fell_back ? 2 : 1), show: (test) => (test.held ? <b class="held">held</b> : test.fell_back ? <b class="missed">fell back</b> : "goes on, unproven") },
    { key: "seeds", name: "Seeds", kind: "number", by: (test) => test.seeds, show: (test) => whole(test.seeds) },
    { key: "delta", name: "Change", kind: "number", by: (test) => test.delta, show: (test) => plusMinus(test.delta, test.delta_se, true) },
    { key: "interval", name: "95 %", kind: "number", show: (test) => interval(test.delta_low, test.delta_high) },
    { key: "p", name: "p", kind: "number", by: (test) => test.p, show: (test) => chance(test.p) },
    { key: "level", name: "Level", kind: "number", by: (test) => test.level, show: (test) => chance(test.level) },
    { key: "reason", name: "Why", kind: "wide", show: (test) => test.reason },
  ];
  const certificates: Column<CertificateLine>[] = [
    { key: "trial", name: "Trial", kind: "row", by: (one) => one.trial, show: (one) => link(one.trial) },
    { key: "at", name: "Made", by: (one) => one.made_at, show: (one) => date(one.made_at) },
    { key: "status", name: "Found", by: (one) => one.status, show: (one) => <b class={one.status === "not_certified" ? "missed" : "held"}>{words(one.status)}</b> },
    { key: "held_out", name: "Answers", show: (one) => (one.held_out ? "held out" : "as trials had") },
    { key: "seeds", name: "Seeds", kind: "number", by: (one) => one.seeds, show: (one) => whole(one.seeds) },
    { key: "score", name: "Score", kind: "number", by: (one) => one.score, show: (one) => plusMinus(one.score, one.score_se) },
    { key: "interval", name: "Change, 95 %", kind: "number", show: (one) => interval(one.delta_low, one.delta_high) },
    { key: "p", name: "p", kind: "number", by: (one) => one.p, show: (one) => chance(one.p) },
    { key: "reason", name: "Why", kind: "wide", show: (one) => one.reason },
  ];
  return (
    <>
      <h1>Evidence</h1>
      <div class="grid">
        <Panel title="What is promised"><Promise_ campaign={campaign} /></Panel>
        <Panel title="Noise">
          <Facts items={[
            ["Standard deviation of a seed run", number(campaign.noise?.sd, 3)],
            ["Smallest visible gain", number(campaign.noise?.smallest_visible, 3)],
            ["Seed runs it is from", whole(campaign.noise?.seeds)],
          ]} />
        </Panel>
        <Panel title="Checkpoints" wide><Table label="Checkpoints" columns={checkpoints} rows={campaign.checkpoints} id={(test) => test.position} sort="-position" empty="The working line was not tested yet." /></Panel>
        <Panel title="Certificates" wide><Table label="Certificates" columns={certificates} rows={campaign.certificates} id={(one) => `${one.trial}/${one.made_at}`} empty="None: recipelab verify makes one, on seeds and answers that no trial had." /></Panel>
        <Panel title="Confirmations of trials" wide aside={<span class="muted">kept trials and unproven gains, the last {MOST}</span>}><Confirmations rows={session.rows} /></Panel>
      </div>
    </>
  );
}
