// What a person may do to a running campaign.

import type { JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { useCampaign } from "./session";
import type { NoteLine } from "./types";
import { date } from "./format";
import { TrialLink } from "./parts";

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A question before something that cannot be taken back. */
export function Confirm(props: { title: string; text: string; yes: string; onYes: () => Promise<void>; onClose: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  const act = (): void => {
    setBusy(true);
    props.onYes().then(props.onClose, (reason: unknown) => {
      setBusy(false);
      setError(message(reason));
    });
  };
  return (
    <dialog ref={dialog} onClose={props.onClose} aria-labelledby={id}>
      <h2 id={id}>{props.title}</h2>
      <p>{props.text}</p>
      {error !== null && <p class="problem" role="alert">{error}</p>}
      <form method="dialog" class="actions">
        <button type="submit">Cancel</button>
        <button type="button" class="danger" disabled={busy} onClick={act}>{props.yes}</button>
      </form>
    </dialog>
  );
}

export function Controls(): JSX.Element {
  const { session, campaign } = useCampaign();
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState<string | null>(null);
  // Where no process drives it, there is nothing to pause: the panel of what goes on tells so.
  if (session.now?.driver_alive === false || !/^(running|paused)$/.test(campaign.state)) return <></>;
  const paused = session.now?.paused === true;
  const turn = (): void => {
    setError(null);
    session.act(paused ? "resume" : "pause").catch((reason: unknown) => setError(message(reason)));
  };
  return (
    <span class="actions">
      {error !== null && <span class="problem" role="alert">{error}</span>}
      <button type="button" onClick={turn}>{paused ? "Resume" : "Pause"}</button>
      <button type="button" onClick={() => setAsking(true)}>Stop…</button>
      {asking && (
        <Confirm
          title="Stop this campaign?"
          text="Trials that run are stopped, and run again when the campaign goes on: recipelab resume."
          yes="Stop it"
          onYes={() => session.act("stop")}
          onClose={() => setAsking(false)}
        />
      )}
    </span>
  );
}

export function KillButton({ trial }: { trial: number }): JSX.Element {
  const { session } = useCampaign();
  const [asking, setAsking] = useState(false);
  return (
    <>
      <button type="button" class="small" onClick={() => setAsking(true)}>Kill…<span class="unseen"> trial {trial}</span></button>
      {asking && (
        <Confirm
          title={`Kill trial ${trial}?`}
          text="It ends now, as killed by a person. What it measured so far is kept."
          yes="Kill it"
          onYes={() => session.act("kill", { trial })}
          onClose={() => setAsking(false)}
        />
      )}
    </>
  );
}

function Note({ note, live }: { note: NoteLine; live: boolean }): JSX.Element {
  const { session } = useCampaign();
  const [error, setError] = useState<string | null>(null);
  const retire = (): void => {
    session.act("note", { retire: note.number }).catch((reason: unknown) => setError(message(reason)));
  };
  return (
    <li class={note.retired_at === null ? "note" : "note retired"}>
      <p>{note.text}</p>
      <p class="muted">
        for {note.specialist ?? "all"}
        {note.trial !== null && <> · about <TrialLink campaign={session.name} number={note.trial} /></>}
        {" · "}{date(note.created_at)}
        {note.retired_at !== null && ` · retired ${date(note.retired_at)}`}
        {live && note.retired_at === null && <> <button type="button" class="link" onClick={retire}>Retire<span class="unseen"> note {note.number}</span></button></>}
      </p>
      {error !== null && <p class="problem" role="alert">{error}</p>}
    </li>
  );
}

export function Notes(): JSX.Element {
  const { session, campaign } = useCampaign();
  const live = session.source.mode === "live";
  const [text, setText] = useState("");
  const [forWhom, setForWhom] = useState("");
  const [error, setError] = useState<string | null>(null);
  const id = useId();
  const add = (event: Event): void => {
    event.preventDefault();
    if (text.trim() === "") return;
    setError(null);
    session.act("note", { text: text.trim(), specialist: forWhom || null, trial: null }).then(
      () => setText(""),
      (reason: unknown) => setError(message(reason)),
    );
  };
  return (
    <>
      {campaign.notes.length === 0 && <p class="muted">No notes.</p>}
      <ul class="notes">{campaign.notes.map((note) => <Note key={note.number} note={note} live={live} />)}</ul>
      {live && (
        <form class="note-form" onSubmit={add}>
          <label for={id}>Tell the specialists</label>
          <textarea id={id} rows={2} value={text} onInput={(event) => setText(event.currentTarget.value)} />
          <div class="actions">
            <select aria-label="For whom" value={forWhom} onChange={(event) => setForWhom(event.currentTarget.value)}>
              <option value="">all</option>
              {campaign.specialists.map((name) => <option key={name} value={name}>{name}</option>)}
            </select>
            <button type="submit" disabled={text.trim() === ""}>Add note</button>
          </div>
          {error !== null && <p class="problem" role="alert">{error}</p>}
        </form>
      )}
    </>
  );
}
