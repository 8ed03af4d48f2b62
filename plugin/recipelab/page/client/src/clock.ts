// The clock of a replay: the time of the campaign that the page shows.

export const SPEEDS = [1, 10, 60, 100, 300, 1000] as const;
const TICK = 100;

export class Clock {
  time: number;
  speed: number;
  playing = false;
  private timer = 0;
  private last = 0;
  private readonly listeners = new Set<() => void>();

  constructor(readonly start: number, readonly end: number) {
    this.time = start;
    this.speed = this.minute;
  }

  /** The speed at which all of it takes sixty seconds. */
  get minute(): number {
    return Math.max(1, (this.end - this.start) / 60);
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  play(): void {
    if (this.playing) return;
    if (this.time >= this.end) this.time = this.start;
    this.playing = true;
    this.last = performance.now();
    this.timer = window.setInterval(() => this.tick(), TICK);
    this.tell();
  }

  pause(): void {
    if (!this.playing) return;
    this.playing = false;
    clearInterval(this.timer);
    this.tell();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  seek(time: number): void {
    this.time = Math.min(this.end, Math.max(this.start, time));
    this.tell();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    this.tell();
  }

  private tick(): void {
    const now = performance.now();
    this.time = Math.min(this.end, this.time + ((now - this.last) / 1000) * this.speed);
    this.last = now;
    if (this.time >= this.end) this.pause();
    else this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
