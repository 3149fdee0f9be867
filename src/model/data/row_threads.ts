import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { EdpoError } from '../../errors.js';
import type { TextFiles } from '../text/open.js';
import type { Sides } from './formats.js';
import type { FormattedRow, RowOptions } from './row_outcome.js';
import type { RowsReply } from './row_reply.js';

/** Threads that tokenise beside the main one. */
export interface RowThreads {
  /** At most so many. */
  count: number;
  /** From which each makes its own tokenizer and template. */
  text: TextFiles;
}

/** What a thread is given when it starts. */
export interface ThreadSetup {
  text: TextFiles;
  options: Omit<RowOptions, 'tokenizer' | 'template'>;
}

/** What a thread is asked. */
export interface ThreadTask {
  rows: FormattedRow[];
  sides: Sides;
}

const MOST = 8;
/** Text that threads must take off the main one: a second's worth or more. Each takes a good part of that to load its tokenizer and to be compiled. */
const SPARED_BYTES = 4 << 20;
/** A preference pair of usual data has so much text. */
const ROW_BYTES = 2048;

/** Threads at most for `dataset_num_proc`: where absent one for each core up to 8, and never more than there are cores. */
export const threadCount = (asked: number | undefined, cores = availableParallelism()): number => Math.min(asked ?? MOST, cores);
/** The same for each of some processes that tokenise at once and share the cores. */
export const threadsOfEach = (asked: number | undefined, processes: number, cores = availableParallelism()): number => Math.max(1, Math.min(threadCount(asked, cores), Math.floor(cores / processes)));

/** Threads that are worth their start for the text in these files, by their sizes; 1: the main one alone. @param maxSamples 0: all rows */
export function threadsFor(asked: number | undefined, files: string[], maxSamples: number): number {
  const count = threadCount(asked);
  const bytes = files.reduce((n, f) => n + (statSync(f, { throwIfNoEntry: false })?.size ?? 0) * (/\.(gz|parquet)$/.test(f) ? 3 : 1), 0);
  const text = maxSamples > 0 ? Math.min(bytes, maxSamples * ROW_BYTES) : bytes;
  return text * (1 - 1 / count) < SPARED_BYTES ? 1 : count;
}

interface Thread {
  worker: Worker;
  /** Answers come in the order of the tasks. */
  waiting: Array<{ resolve: (r: RowsReply) => void; reject: (e: Error) => void }>;
}

/** Threads over `row_worker.ts`, started as tasks come; a task goes to the one with the fewest waiting. */
export class RowWorkers {
  private readonly threads: Thread[] = [];
  private closed = false;
  constructor(private readonly count: number, private readonly setup: ThreadSetup) {}

  run(task: ThreadTask): Promise<RowsReply> {
    const idlest = this.threads.reduce<Thread | undefined>((best, t) => (best && best.waiting.length <= t.waiting.length ? best : t), undefined);
    const thread = idlest && (idlest.waiting.length === 0 || this.threads.length >= this.count) ? idlest : this.start();
    return new Promise((resolve, reject) => {
      // What cannot be sent throws here, and must not wait for an answer.
      thread.worker.postMessage(task);
      thread.waiting.push({ resolve, reject });
    });
  }

  private start(): Thread {
    const worker = new Worker(new URL('./row_worker.js', import.meta.url), { workerData: this.setup, execArgv: [] });
    const thread: Thread = { worker, waiting: [] };
    const fail = (why: string): void => {
      if (this.closed) return;
      // It answers nothing more: what comes next goes to another one.
      const at = this.threads.indexOf(thread);
      if (at >= 0) this.threads.splice(at, 1);
      void worker.terminate();
      for (const { reject } of thread.waiting.splice(0)) reject(new EdpoError(`a thread that tokenises ${why}`, { hint: '--dataset_num_proc 1 tokenises without threads' }));
    };
    worker.on('message', (reply: RowsReply) => thread.waiting.shift()?.resolve(reply));
    worker.on('messageerror', (e) => fail(`sent what cannot be read: ${e.message}`));
    worker.on('error', (e) => fail(`has failed: ${e.message}`));
    worker.on('exit', (code) => fail(`has ended with code ${code} before it was through`));
    this.threads.push(thread);
    return thread;
  }

  /** Ends all threads, whatever they are at. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.threads.map(({ worker }) => worker.terminate()));
  }
}
