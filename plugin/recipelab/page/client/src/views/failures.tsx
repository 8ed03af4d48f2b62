// What went wrong, counted by signature, and what got past it.

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { date, plural, whole, words } from "../format";
import { Plain, SearchField, Select, TrialLink, TrialLinks } from "../parts";
import { href, setQuery } from "../route";
import type { Route } from "../route";
import { useCampaign } from "../session";
import type { FailureLine } from "../types";

function FailureItem({ failure, campaign, open }: { failure: FailureLine; campaign: string; open: boolean }): JSX.Element {
  return (
    <li>
      <details class="failure" open={open}>
        <summary>
          <span class="count">{whole(failure.count)}×</span>
          <span class="kind">{words(failure.kind)}</span>
          <code class="signature">{failure.signature}</code>
          <span class="muted last">last {date(failure.last_seen)}</span>
        </summary>
        <div class="failure-body">
          <p>
            {failure.phase === null ? "before any sandbox" : `in ${words(failure.phase)}`}
            {" · "}first <TrialLink campaign={campaign} number={failure.first} />
            {" · "}last <TrialLink campaign={campaign} number={failure.last} />
            {" · "}<a href={href(campaign, "lineage", null, { as: "table", text: failure.signature })}>all of them</a>
          </p>
          <p>Got past it: {failure.fixed_by.length > 0 ? <TrialLinks campaign={campaign} numbers={failure.fixed_by} /> : <span class="muted">nothing yet</span>}</p>
          {failure.excerpt !== "" && <Plain text={failure.excerpt} label={`Excerpt: ${failure.signature}`} />}
        </div>
      </details>
    </li>
  );
}

const MOST = 200;

export function Failures({ route }: { route: Route }): JSX.Element {
  const { campaign } = useCampaign();
  const text = route.query.get("text") ?? "";
  const kind = route.query.get("kind") ?? "";
  const signature = route.query.get("signature");
  const kinds = useMemo(() => {
    const counts = new Map<string, number>();
    for (const failure of campaign.failures) counts.set(failure.kind, (counts.get(failure.kind) ?? 0) + failure.count);
    return [...counts].sort((a, b) => b[1] - a[1]);
  }, [campaign.failures]);
  const shown = useMemo(() => campaign.failures
    .filter((failure) => signature === null || failure.signature === signature)
    .filter((failure) => kind === "" || failure.kind === kind)
    .filter((failure) => `${failure.signature} ${failure.excerpt}`.toLowerCase().includes(text.toLowerCase()))
    .sort((a, b) => b.count - a.count || b.last - a.last), [campaign.failures, signature, kind, text]);
  return (
    <>
      <h1>Failures</h1>
      <div class="filters">
        <SearchField label="Text" value={text} onChange={(value) => setQuery({ text: value || null })} />
        <Select label="Kind" value={kind} options={[["", "all kinds"], ...kinds.map(([name, count]) => [name, `${words(name)} (${count})`] as const)]} onChange={(value) => setQuery({ kind: value || null })} />
        {signature !== null && <button type="button" onClick={() => setQuery({ signature: null })}>All signatures</button>}
        <p class="muted count-of" role="status">{plural(shown.length, "signature")}, {plural(shown.reduce((sum, failure) => sum + failure.count, 0), "trial")}</p>
      </div>
      {shown.length === 0 && <p class="muted">{campaign.failures.length === 0 ? "Nothing has failed." : "No failure fits the filter."}</p>}
      <ul class="failures">
        {shown.slice(0, MOST).map((failure, i) => <FailureItem key={failure.signature} failure={failure} campaign={campaign.name} open={signature !== null || (i === 0 && shown.length < 4)} />)}
      </ul>
      {shown.length > MOST && <p class="muted">The {MOST} most frequent are shown: filter for others.</p>}
    </>
  );
}
