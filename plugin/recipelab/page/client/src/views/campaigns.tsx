// The campaigns of a lineage, to choose one.

import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { NOTHING, date, seconds, signed, whole, words } from "../format";
import { Problem, Waiting } from "../parts";
import { href } from "../route";
import { Table } from "../table";
import type { Column } from "../table";
import type { CampaignLine } from "../types";

const COLUMNS: Column<CampaignLine>[] = [
  { key: "name", name: "Campaign", kind: "row", by: (row) => row.name, show: (row) => <a href={href(row.name)}>{row.name}</a> },
  { key: "state", name: "State", by: (row) => row.state, show: (row) => <span title={row.stop_reason ?? undefined}>{words(row.state)}</span> },
  { key: "pack", name: "Pack", by: (row) => row.pack, show: (row) => [row.pack, row.profile].filter(Boolean).join(", ") },
  { key: "model", name: "Model", by: (row) => row.model, show: (row) => row.model },
  { key: "trials", name: "Trials", kind: "number", by: (row) => row.trials, show: (row) => whole(row.trials) },
  { key: "running", name: "Running", kind: "number", by: (row) => row.running, show: (row) => whole(row.running) },
  { key: "gain", name: "Best gain", kind: "number", by: (row) => row.best_gain, show: (row) => (row.best_gain === null ? NOTHING : `${signed(row.best_gain)} %`) },
  { key: "begun", name: "Begun", by: (row) => row.created_at, show: (row) => date(row.created_at) },
  { key: "took", name: "Took", kind: "number", by: (row) => (row.ended_at === null ? null : row.ended_at - row.created_at), show: (row) => seconds(row.ended_at === null ? null : row.ended_at - row.created_at) },
];

export function Campaigns({ campaigns, error, live }: { campaigns: CampaignLine[] | null; error: string | null; live: boolean }): JSX.Element {
  useEffect(() => {
    document.title = "Campaigns · recipelab";
  }, []);
  return (
    <>
      <header class="top"><div class="bar"><span class="brand">recipelab</span></div></header>
      <main class="page">
        <h1>Campaigns</h1>
        {error !== null && <Problem text={error} />}
        {campaigns === null ? error === null && <Waiting what="campaigns" /> : (
          <Table
            label="Campaigns"
            columns={COLUMNS}
            rows={campaigns}
            id={(row) => row.name}
            sort="-begun"
            empty={live ? "This lineage has no campaign yet: recipelab run begins one." : "The file has no campaign."}
          />
        )}
      </main>
    </>
  );
}
