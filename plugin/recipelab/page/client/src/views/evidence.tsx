// What is claimed and how well it is proven: confirmations, checkpoints, certificates.

import type { JSX } from "preact";
import { NOTHING, chance, date, interval, number, plusMinus, whole, words } from "../format";
import { Facts, Meter, Panel, TrialLink } from "../parts";
import { useCampaign } from "../session";
import { Table } from "../table";
import type { Column } from "../table";
import type { Campaign, CertificateLine, CheckpointLine, Test } from "../types";

function PromisePanel({ campaign }: { campaign: Campaign }): JSX.Element {
  const { evidence } = campaign;
  if (evidence === null) return <p class="muted">Nothing is promised: how trials were tested is not known.</p>;
  const { false_claim_budget: budget, spent, left, claims, looks, policy } = evidence;
  return (
    <>
      {typeof budget === "number"
        ? <p>If nothing were ever better, the chance to claim anything is at most {number(100 * budget, 2)} % over the whole campaign.</p>
        : <p>The policy of this campaign states no bound on how often luck is claimed.</p>}
      {typeof budget === "number" && typeof spent === "number" && <Meter label="False-claim budget spent" value={spent} max={budget} />}
      <Facts items={[
        ["Policy", policy ?? NOTHING],
        ["Spent", typeof spent === "number" ? `${number(100 * spent, 2)} %, ${number(100 * (left ?? 0), 2)} % left` : NOTHING],
        ["Claims", whole(claims)],
        ["Looks, in fresh seeds", looks?.join(", ") ?? NOTHING],
      ]} />
    </>
  );
}

/** Every test: of a trial by itself, or of the line at a checkpoint. */
function Tests({ campaign }: { campaign: Campaign }): JSX.Element {
  const looks = campaign.evidence?.looks ?? null;
  const look = (test: Test): string => {
    const at = test.seeds === null || looks === null ? -1 : looks.indexOf(test.seeds);
    return at < 0 ? NOTHING : `${at + 1} of ${looks?.length ?? 0}`;
  };
  const columns: Column<Test>[] = [
    { key: "trial", name: "Trial", kind: "row", by: (test) => test.trial, show: (test) => <TrialLink campaign={campaign.name} number={test.trial} /> },
    { key: "kind", name: "Test of", by: (test) => test.kind, show: (test) => (test.kind === "checkpoint" ? "the line" : "the trial") },
    { key: "against", name: "Against", kind: "number", by: (test) => test.against, show: (test) => (test.against === null ? NOTHING : <TrialLink campaign={campaign.name} number={test.against} />) },
    { key: "held", name: "Ended", by: (test) => (test.held ? 0 : 1), show: (test) => <b class={test.held ? "held" : "missed"}>{test.verdict ?? (test.held ? "holds" : "does not hold")}</b> },
    { key: "seeds", name: "Seeds", kind: "number", by: (test) => test.seeds, show: (test) => whole(test.seeds) },
    { key: "look", name: "Look", kind: "number", show: look },
    { key: "p", name: "p", kind: "number", by: (test) => test.p, show: (test) => chance(test.p) },
    { key: "level", name: "Level", kind: "number", by: (test) => test.level, show: (test) => chance(test.level) },
    { key: "at", name: "Made", by: (test) => test.made_at, show: (test) => date(test.made_at) },
  ];
  return <Table label="Tests" columns={columns} rows={campaign.evidence?.tests ?? []} id={(test) => `${test.kind}/${test.trial}/${test.made_at}`} sort="-at" empty="Nothing was tested yet." />;
}

export function EvidenceView(): JSX.Element {
  const { campaign } = useCampaign();
  const link = (trial: number): JSX.Element => <TrialLink campaign={campaign.name} number={trial} />;
  const checkpoints: Column<CheckpointLine>[] = [
    { key: "position", name: "No.", kind: "row", by: (test) => test.position, show: (test) => test.position + 1 },
    { key: "at", name: "Made", by: (test) => test.made_at, show: (test) => date(test.made_at) },
    { key: "trial", name: "Head", kind: "number", by: (test) => test.trial, show: (test) => link(test.trial) },
    { key: "against", name: "Against", kind: "number", by: (test) => test.against, show: (test) => link(test.against) },
    { key: "ended", name: "Ended", by: (test) => (test.held ? 0 : test.fell_back ? 2 : 1), show: (test) => (<b class={test.held ? "held" : test.fell_back ? "missed" : undefined}>{test.verdict ?? (test.held ? "holds" : test.fell_back ? "fell back" : "goes on, unproven")}</b>) },
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
        <Panel title="What is promised"><PromisePanel campaign={campaign} /></Panel>
        <Panel title="Noise">
          <Facts items={[
            ["Standard deviation of a seed run", number(campaign.noise?.sd, 3)],
            ["Smallest visible gain", number(campaign.noise?.smallest_visible, 3)],
            ["Seed runs it is from", whole(campaign.noise?.seeds)],
          ]} />
        </Panel>
        <Panel title="Checkpoints" wide><Table label="Checkpoints" columns={checkpoints} rows={campaign.checkpoints} id={(test) => test.position} sort="-position" empty="The working line was not tested yet." /></Panel>
        <Panel title="Certificates" wide><Table label="Certificates" columns={certificates} rows={campaign.certificates} id={(one) => `${one.trial}/${one.made_at}`} empty="None: recipelab verify makes one, on seeds and answers that no trial had." /></Panel>
        <Panel title="Tests" wide aside={<span class="muted">confirmations of trials and checkpoints</span>}><Tests campaign={campaign} /></Panel>
      </div>
    </>
  );
}
