import { Worker } from 'node:worker_threads';
import type { LogSink } from '../model/train/sinks/types.js';

/** Seconds between two refreshes, at least. */
const EVERY_MS = 30_000;
/** A refresh may take this share of one core's time. */
const SHARE = 1 / 20;

/**
 * report.html of a run that goes on: made anew after a line of its log, in a thread of its own so that no step waits for it, and not more often
 * than a small share of the time allows. A report that fails is a warning, once: it never ends a run.
 */
export class LiveReport implements LogSink {
  private working: Promise<void> | undefined;
  private due: number;
  private warned = false;

  /** @param everyMs least time between two refreshes, and before the first one */
  constructor(private readonly dir: string, private readonly warn: (text: string) => void, private readonly everyMs = EVERY_MS) {
    this.due = Date.now() + everyMs;
  }

  write(): void {
    if (this.working || Date.now() < this.due) return;
    const started = Date.now();
    this.working = refresh(this.dir).catch((error: unknown) => this.failed(error)).then(() => {
      const took = Date.now() - started;
      this.due = Date.now() + Math.max(this.everyMs, took / SHARE);
      this.working = undefined;
    });
  }
  sync(): void {}
  close(): void {}

  /** The report of the run as it has ended. @returns its path, or undefined (after a warning) where it could not be written */
  async finish(): Promise<string | undefined> {
    await this.working;
    try {
      const { writeReport } = await import('./write_report.js');
      return (await writeReport({ folders: [this.dir] })).path;
    } catch (error) {
      this.warned = false;
      this.failed(error);
      return undefined;
    }
  }

  private failed(error: unknown): void {
    if (this.warned) return;
    this.warned = true;
    this.warn(`the report was not written: ${(error as Error).message}; the run goes on, and edpo report ${this.dir} tries again`);
  }
}

/** Writes the report in a thread. */
function refresh(dir: string): Promise<void> {
  return new Promise((done, fail) => {
    const worker = new Worker(new URL('./live_worker.js', import.meta.url), { workerData: dir, stdout: true, stderr: true });
    worker.on('error', fail);
    worker.on('exit', () => done());
  });
}
