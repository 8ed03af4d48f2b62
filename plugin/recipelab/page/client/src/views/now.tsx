// What goes on right now: who has the floor, what runs and waits, and what would end it.

import type { JSX } from "preact";
import { KillButton } from "../controls";
import { NOTHING, date, plural, seconds, time, words } from "../format";
import { Meter, Panel, Plain, TrialLink, TrialLinks, useTick } from "../parts";
import { useCampaign } from "../session";
import type { Now, RunningTrial } from "../types";

const PASSES = 5;

function Running({ run, at, live }: { run: RunningTrial; at: number; live: boolean }): JSX.Element {
  const { session } = useCampaign();
  const row = session.byNumber.get(run.trial);
  const gone = run.began === null ? null : Math.max(0, at - run.began);
  const facts = [
    run.seed === null ? null : `seed ${run.seed}`,
    run.slot === null ? null : `slot ${run.slot}`,
    run.beside === null || run.beside === false ? null : run.beside === true ? "for comparison" : `beside #${run.beside}`,
    run.look === null ? null : `look ${run.look[0]} of ${run.look[1]}`,
  ].filter((fact) => fact !== null);
  return (
    <li class="run">
      <div class="run-head">
        <TrialLink campaign={session.name} number={run.trial}>trial {run.trial}</TrialLink>
        <b>{run.phase === null ? "running" : words(run.phase)}</b>
        <span class="muted">{[row?.specialist, row?.surface].filter(Boolean).join(" on ")}</span>
        <span class="spring" />
        <span class="elapsed">{seconds(gone)}{run.budget !== null && <span class="muted"> of {seconds(run.budget)}</span>}</span>
        {live && <KillButton trial={run.trial} />}
      </div>
      {gone !== null && run.budget !== null && <Meter label={`Time of trial ${run.trial}`} value={gone} max={run.budget} />}
      {facts.length > 0 && <p class="muted small">{facts.join(" · ")}</p>}
      {run.log.length > 0 && <Plain label={`Log of trial ${run.trial}`} text={run.log.join("\n")} />}
    </li>
  );
}

function Floor({ now, at }: { now: Now; at: number }): JSX.Element {
  if (now.floor.length === 0) return <p class="muted">Nobody has the floor.</p>;
  return (
    <ul class="floor">
      {now.floor.map((seat) => (
        <li key={seat.specialist}>
          <b>{seat.specialist}</b> {seat.doing}
          <span class="muted">
            {seat.call_since !== null && ` for ${seconds(Math.max(0, at - seat.call_since))}`}
            {seat.since !== null && ` · has the floor for ${seconds(Math.max(0, at - seat.since))}`}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** The state of the team in one line. */
function headline(now: Now, live: boolean): string {
  if (live && now.driver_alive === false && /^(running|paused)$/.test(now.state)) return "No process runs this campaign: recipelab resume goes on with it.";
  if (now.paused) return "Paused: trials that run go on, and no other begins.";
  if (now.state !== "running") return `The campaign is ${words(now.state)}.`;
  const parts = [now.running.length === 0 ? "No trial runs" : plural(now.running.length, "trial runs", "trials run")];
  if (now.queued.length > 0) parts.push(`${now.queued.length} queued`);
  if (now.slots !== null) parts.push(now.slots.total === null ? `${plural(now.slots.busy, "slot")} busy` : `${now.slots.busy} of ${plural(now.slots.total, "slot")} busy`);
  return parts.join(", ");
}

export function NowPanel(): JSX.Element {
  const { session, campaign } = useCampaign();
  const live = session.source.mode === "live";
  const now = session.now;
  const busy = now !== null && /^(running|paused)$/.test(now.state);
  useTick(1000, live && busy);
  if (now === null) {
    return (
      <Panel title="Now">
        <p>{campaign.state === "running" ? "This file shows a campaign that still ran when it was written." : `The campaign is ${words(campaign.state)}${campaign.stop_reason ? `: ${campaign.stop_reason}` : "."}`}</p>
        <p class="muted">{campaign.ended_at === null ? "" : `Ended ${date(campaign.ended_at)}.`}</p>
      </Panel>
    );
  }
  const at = session.clock?.time ?? Date.now() / 1000;
  return (
    <Panel title={session.clock ? "At this time" : "Now"} aside={<span class="muted">{now.since === null ? "" : `since ${time(now.since)}`}</span>}>
      {now.warnings.length > 0 && <ul class="warnings">{now.warnings.map((text) => <li key={text}>{text}</li>)}</ul>}
      <p class={now.paused || now.driver_alive === false ? "headline strong" : "headline"}>{headline(now, live)}</p>
      {live && busy && <Floor now={now} at={at} />}
      {now.confirming !== null && (
        <p>{now.confirming.kind === "checkpoint" ? "A checkpoint tests the line up to" : "Confirming"} <TrialLink campaign={session.name} number={now.confirming.trial} />{now.confirming.look === null ? "" : `: look ${now.confirming.look} of ${now.confirming.of ?? NOTHING}`}</p>
      )}
      {now.running.length > 0 && <ul class="runs">{now.running.map((run) => <Running key={`${run.trial}/${run.seed}/${run.slot}`} run={run} at={at} live={live && busy} />)}</ul>}
      {now.queued.length > 0 && <p>Queued: <TrialLinks campaign={session.name} numbers={now.queued} /></p>}
      {now.passes.length > 0 && (
        <details>
          <summary>{plural(now.passes.length, "turn")} passed without a trial</summary>
          <ul class="passes">
            {now.passes.slice(-PASSES).reverse().map((pass) => <li key={`${pass.specialist}${pass.at}`}><b>{pass.specialist}</b> <span class="muted">{time(pass.at)}</span> {pass.reason}</li>)}
          </ul>
        </details>
      )}
      {now.next_stop !== null && now.next_stop !== "" && <p class="muted">Next stop: {now.next_stop}</p>}
      {!now.next_stop && typeof now.seconds_left === "number" && <p class="muted">About {seconds(now.seconds_left)} to the end.</p>}
    </Panel>
  );
}
