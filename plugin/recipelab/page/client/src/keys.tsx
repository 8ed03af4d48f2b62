// The keyboard: one key to each view, and the way to learn of it.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { VIEWS, go, href, parseRoute } from "./route";
import type { Session } from "./session";

const SETTING = "recipelab.keys";

function enabled(): boolean {
  try {
    return localStorage.getItem(SETTING) !== "off";
  } catch {
    return true;
  }
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** Whether a press of the space bar or an arrow is meant for what has the focus. */
function operated(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target !== document.body && target.id !== "main";
}

export function useKeys(session: Session, help: () => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || !enabled()) return;
      if (document.querySelector("dialog[open]")) return;
      const view = VIEWS[Number(event.key) - 1];
      const { clock } = session;
      // Keys may come faster than the page is drawn.
      const route = parseRoute(location.hash);
      if (event.key === "?") help();
      else if (event.key === "/") {
        const field = document.querySelector<HTMLInputElement>("[data-filter]");
        if (!field) return;
        field.focus();
        field.select();
      } else if (view !== undefined) {
        const trial = view === "trial" ? (route.arg ?? session.campaign?.best ?? 0) : null;
        go(href(session.name, view, trial));
      } else if ((event.key === "j" || event.key === "k") && route.view === "trial") {
        const now = Number(route.arg ?? 0);
        const next = event.key === "j" ? session.rows.find((row) => row.number > now) : session.rows.findLast((row) => row.number < now);
        if (next) go(href(session.name, "trial", next.number));
      } else if (clock && event.key === " " && !operated(event.target)) clock.toggle();
      else if (clock && event.key === "ArrowRight" && !operated(event.target)) clock.seek(clock.time + (clock.end - clock.start) / 100);
      else if (clock && event.key === "ArrowLeft" && !operated(event.target)) clock.seek(clock.time - (clock.end - clock.start) / 100);
      else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [session, help]);
}

const KEYS: [string, string][] = [
  ["1 … 8", "the views, in the order of their tabs"],
  ["j, k", "the next and the previous trial, in the trial view"],
  ["/", "to the filter of a view"],
  ["arrows", "in the tree: to the parent, a child, the trial above or below"],
  ["Enter", "in the tree: open the trial"],
  ["+, −, 0", "in the tree: closer, farther, all of it"],
  ["?", "this list"],
];
const PLAYER: [string, string][] = [
  ["space", "play, pause"],
  ["←, →", "a hundredth of the campaign back or forth"],
];

export function Help({ replay, onClose }: { replay: boolean; onClose: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [on, setOn] = useState(enabled);
  useEffect(() => dialog.current?.showModal(), []);
  const keep = (value: boolean): void => {
    setOn(value);
    try {
      localStorage.setItem(SETTING, value ? "on" : "off");
    } catch {
      // Nothing is kept in a private window or a file: the choice holds for this page only.
    }
  };
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="help-title">
      <h2 id="help-title">Keyboard</h2>
      <dl class="keys">
        {[...KEYS, ...(replay ? PLAYER : [])].map(([key, does]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{does}</dd></div>)}
      </dl>
      <p><label><input type="checkbox" checked={on} onChange={(event) => keep(event.currentTarget.checked)} /> single keys are shortcuts</label></p>
      <form method="dialog"><button type="submit">Close</button></form>
    </dialog>
  );
}
