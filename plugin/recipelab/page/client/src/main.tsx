// The page's frame: which campaign, which view, and what goes on.

import { render } from "preact";
import type { JSX } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { date, plural, words } from "./format";
import { Controls } from "./controls";
import { Help, useKeys } from "./keys";
import { Problem, Waiting } from "./parts";
import { Player } from "./player";
import { VIEWS, go, href, useRoute } from "./route";
import type { Route, ViewName } from "./route";
import { Session, SessionContext, useLoaded, useSession } from "./session";
import { openSource } from "./source";
import type { Source } from "./source";
import type { CampaignLine } from "./types";
import { Chat } from "./views/chat";
import { Campaigns } from "./views/campaigns";
import { Compare } from "./views/compare";
import { EvidenceView } from "./views/evidence";
import { Failures } from "./views/failures";
import { Lineage } from "./views/lineage";
import { Overview } from "./views/overview";
import { Surfaces } from "./views/surfaces";
import { TrialView } from "./views/trial";

const NAMES: Record<ViewName, string> = {
  overview: "Overview",
  lineage: "Lineage",
  trial: "Trial",
  failures: "Failures",
  surfaces: "Surfaces",
  chat: "Chat",
  compare: "Compare",
  evidence: "Evidence",
};

function Body({ route }: { route: Route }): JSX.Element {
  switch (route.view) {
    case "overview": return <Overview />;
    case "lineage": return <Lineage route={route} />;
    case "trial": return <TrialView route={route} />;
    case "failures": return <Failures route={route} />;
    case "surfaces": return <Surfaces />;
    case "chat": return <Chat route={route} />;
    case "compare": return <Compare route={route} />;
    case "evidence": return <EvidenceView />;
  }
}

/** What links of the navigation lead to: the trial view keeps the trial that was last looked at. */
function Navigation({ campaign, route, trial }: { campaign: string; route: Route; trial: number }): JSX.Element {
  return (
    <nav aria-label="Views" class="views">
      <ul>
        {VIEWS.map((view) => (
          <li key={view}>
            <a href={href(campaign, view, view === "trial" ? trial : null)} aria-current={view === route.view ? "page" : undefined}>
              {NAMES[view]}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** What changed last, in words, for those who hear the page. */
function Announcer(): JSX.Element {
  const session = useSession();
  const [text, setText] = useState("");
  const seen = useRef<{ judged: number; link: string } | null>(null);
  const judged = session.rows.reduce((count, row) => count + (row.status !== null ? 1 : 0), 0);
  useEffect(() => {
    const before = seen.current;
    seen.current = { judged, link: session.link };
    if (before === null) return;
    if (before.link !== "lost" && session.link === "lost") setText("Connection lost, trying again");
    else if (before.link === "lost" && session.link === "open") setText("Connected again");
    else if (judged > before.judged && !session.clock?.playing) {
      const latest = session.rows.reduce((a, b) => ((b.judged_at ?? 0) > (a.judged_at ?? 0) ? b : a));
      setText(`Trial ${latest.number} ended: ${words(latest.status ?? "")}`);
    }
  }, [judged, session.link]);
  return <p class="unseen" aria-live="polite" role="status">{text}</p>;
}

function State(): JSX.Element {
  const session = useSession();
  const campaign = session.campaign;
  if (!campaign) return <></>;
  const paused = session.now?.paused === true;
  const state = paused ? "paused" : campaign.state;
  return (
    <span class={`state state-${state}`} title={campaign.stop_reason ?? undefined}>
      <span class="dot" aria-hidden="true" />{words(state)}
    </span>
  );
}

function Lost(): JSX.Element {
  const session = useSession();
  if (session.trouble !== null && session.link !== "lost") return <p class="banner" role="status">{session.trouble}</p>;
  if (session.link !== "lost") return <></>;
  return <p class="banner" role="status">Connection lost, trying again. What you see is what was known until then.</p>;
}

function CampaignPage({ source, route, others }: { source: Source; route: Route; others: CampaignLine[] }): JSX.Element {
  const name = route.campaign ?? "";
  const [session, setSession] = useState<Session | null>(null);
  useEffect(() => {
    const made = new Session(source, name);
    setSession(made);
    void made.start();
    return () => made.stop();
  }, [source, name]);
  if (!session || session.name !== name) return <main class="page"><Waiting what={name} /></main>;
  return (
    <SessionContext.Provider value={session}>
      <Frame route={route} others={others} />
    </SessionContext.Provider>
  );
}

function Frame({ route, others }: { route: Route; others: CampaignLine[] }): JSX.Element {
  const session = useSession();
  const campaign = session.campaign;
  const [help, setHelp] = useState(false);
  const askHelp = useCallback(() => setHelp(true), []);
  const main = useRef<HTMLElement>(null);
  const last = useRef<number | null>(null);
  if (route.view === "trial" && route.arg !== null) last.current = Number(route.arg);
  useKeys(session, askHelp);
  const place = `${route.view}/${route.arg ?? ""}`;
  const first = useRef(true);
  useEffect(() => {
    document.title = [route.view === "trial" && route.arg ? `Trial ${route.arg}` : NAMES[route.view], session.name, "recipelab"].join(" · ");
    // A reader who follows a link continues at the top of what it leads to.
    if (!first.current) {
      window.scrollTo(0, 0);
      if (document.activeElement?.closest("nav.views, .keep-focus") === null) main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [place, session.name]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>Skip to the view</a>
      <header class="top">
        <div class="bar">
          <a class="brand" href="#/">recipelab</a>
          {others.length > 1 ? (
            <select class="which" aria-label="Campaign" value={session.name} onChange={(event) => go(href(event.currentTarget.value, route.view === "trial" ? "overview" : route.view))}>
              {others.map((other) => <option key={other.name} value={other.name}>{other.name}</option>)}
            </select>
          ) : <span class="which">{session.name}</span>}
          <State />
          <span class="spring" />
          {session.source.mode === "live" && campaign && <Controls />}
          <button type="button" class="quiet" aria-label="Keyboard shortcuts" onClick={() => setHelp(true)}>?</button>
        </div>
        <Navigation campaign={session.name} route={route} trial={last.current ?? campaign?.best ?? 0} />
      </header>
      <Lost />
      <main class="page" id="main" tabIndex={-1} ref={main} data-view={route.view}>
        {session.error !== null && <Problem text={session.error} />}
        {(route.view === "overview" || route.view === "evidence") && campaign?.missing?.map((text) => <p key={text} class="banner">{text}</p>)}
        {campaign?.trust === "self-reported" && <p class="banner">Self-reported: code that agents may change printed every score, so none is proven.</p>}
        {campaign ? <Body route={route} /> : session.error === null && <Waiting what="the campaign" />}
      </main>
      {campaign && (
        <footer class="foot">
          {[campaign.pack, campaign.profile, campaign.model, campaign.sandbox, campaign.trust, plural(session.rows.length, "trial"), `begun ${date(campaign.created_at)}`].filter(Boolean).map((part) => <bdi key={part}>{part}</bdi>)}
        </footer>
      )}
      {session.clock && <Player clock={session.clock} />}
      <Announcer />
      {help && <Help replay={session.clock !== null} onClose={() => setHelp(false)} />}
    </>
  );
}

function App({ source }: { source: Source }): JSX.Element {
  const route = useRoute();
  const { value: campaigns, error } = useLoaded(() => source.campaigns(), [source, route.campaign]);
  const only = campaigns?.length === 1 ? campaigns[0]?.name : undefined;
  useEffect(() => {
    if (route.campaign === null && only !== undefined) go(href(only), true);
  }, [route.campaign, only]);
  if (route.campaign !== null) return <CampaignPage source={source} route={route} others={campaigns ?? []} />;
  return <Campaigns campaigns={campaigns} error={error} live={source.mode === "live"} />;
}

function start(): void {
  let root = document.getElementById("app");
  if (!root) {
    root = document.createElement("div");
    root.id = "app";
    document.body.append(root);
  }
  root.textContent = "";
  render(<App source={openSource()} />, root);
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
