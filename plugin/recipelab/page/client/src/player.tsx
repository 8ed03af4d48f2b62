// Play, pause, speed and time of a replay.

import type { JSX } from "preact";
import { SPEEDS } from "./clock";
import type { Clock } from "./clock";
import { date, seconds } from "./format";
import { useSession } from "./session";

export function Player({ clock }: { clock: Clock }): JSX.Element {
  useSession();
  const minute = Math.round(clock.minute);
  const gone = clock.time - clock.start;
  return (
    <section class="player" aria-label="Replay">
      <button type="button" class="primary" onClick={() => clock.toggle()}>{clock.playing ? "Pause" : clock.time >= clock.end ? "Play again" : "Play"}</button>
      <input
        type="range"
        aria-label="Time of the campaign"
        aria-valuetext={`${seconds(gone)} of ${seconds(clock.end - clock.start)}`}
        min={clock.start}
        max={clock.end}
        step={(clock.end - clock.start) / 1000}
        value={clock.time}
        onInput={(event) => clock.seek(Number(event.currentTarget.value))}
      />
      <span class="when"><b>{seconds(gone)}</b> <span class="muted">of {seconds(clock.end - clock.start)} · {date(clock.time)}</span></span>
      <label class="speed">
        <span>Speed</span>
        <select value={String(clock.speed)} onChange={(event) => clock.setSpeed(Number(event.currentTarget.value))}>
          {minute > 1 && <option value={String(clock.minute)}>in 60 s ({minute}×)</option>}
          {SPEEDS.map((speed) => <option key={speed} value={String(speed)}>{speed}×</option>)}
        </select>
      </label>
    </section>
  );
}
