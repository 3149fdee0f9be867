import type { AppendLog } from '../train/append_log.js';
import { openKeptLines } from './kept_lines.js';
import type { Verdict } from './types.js';

/** A line of annotations.ndjson: the verdict on one game, the two answers it stands for, and the judge's own words. */
export interface KeptVerdict {
  /** `<prompt>:ab` shows the model's output first, `<prompt>:ba` the baseline's. */
  id: string;
  winner: Verdict;
  output: string;
  baseline: string;
  [detail: string]: unknown;
}

/** annotations.ndjson: verdicts as they come, those of an earlier run of the same judge kept. */
export class KeptVerdicts {
  private readonly log: AppendLog;
  private readonly lines: Map<string, KeptVerdict>;

  constructor(path: string, identity: object, note: (text: string) => void) {
    const { log, lines } = openKeptLines(path, identity, note);
    this.log = log;
    this.lines = new Map(lines.map((l) => [String(l['id']), l as KeptVerdict]));
  }

  /** The verdict on these very answers. One that was not a verdict is asked again: the endpoint may have been down. */
  find(id: string, output: string, baseline: string): KeptVerdict | undefined {
    const old = this.lines.get(id);
    return old && old.winner !== 'invalid' && old.output === output && old.baseline === baseline ? old : undefined;
  }

  put(verdict: KeptVerdict): void {
    this.lines.set(verdict.id, verdict);
    this.log.append(`${JSON.stringify(verdict)}\n`);
  }

  /** The latest verdict on a game, invalid ones too. */
  get(id: string): KeptVerdict | undefined {
    return this.lines.get(id);
  }

  close(): void {
    this.log.close();
  }
}
