import type { CliIo } from './io.js';

/** Where no terminal redraws a line, one is written this often. */
export const QUIET_MS = 10_000;
const BAR = 24;

export const duration = (ms: number): string => {
  const s = Math.max(0, Math.round(ms / 1000));
  return s < 60 ? `${s}s` : s < 3600 ? `${Math.floor(s / 60)}m${String(s % 60).padStart(2, '0')}s` : `${Math.floor(s / 3600)}h${String(Math.floor((s % 3600) / 60)).padStart(2, '0')}m`;
};

/** A bar with an ETA on a terminal; elsewhere a plain line now and then. Always on stderr. */
export class Progress {
  private readonly started = Date.now();
  private shown = 0;
  private readonly first: number;
  constructor(private readonly io: CliIo, private readonly label: string, private readonly total: number, done = 0, private readonly text: (n: number) => string = String) {
    this.first = done;
    this.shown = io.isTTY ? 0 : Date.now();
  }

  update(done: number, detail = ''): void {
    const now = Date.now();
    const last = done >= this.total;
    if (now - this.shown < (this.io.isTTY ? 100 : QUIET_MS) && !last) return;
    this.shown = now;
    const perItem = (now - this.started) / Math.max(1, done - this.first);
    const eta = last ? `in ${duration(now - this.started)}` : `${duration(perItem * (this.total - done))} left`;
    if (!this.io.isTTY) {
      this.io.say(`${this.label} ${this.text(done)}/${this.text(this.total)}  ${detail}  ${eta}`);
      return;
    }
    const full = Math.round((BAR * done) / Math.max(1, this.total));
    process.stderr.write(`\r\x1b[K${this.label} [${'='.repeat(full)}${' '.repeat(BAR - full)}] ${this.text(done)}/${this.text(this.total)}  ${detail}  ${eta}${last ? '\n' : ''}`);
  }

  /** Clears an unfinished bar before other text. */
  clear(): void {
    if (this.io.isTTY) process.stderr.write('\r\x1b[K');
  }
}
