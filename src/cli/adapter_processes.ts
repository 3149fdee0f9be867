import { fork, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import { hardwareAdapters } from '../gpu/adapters.js';
import type { Answer, PromptText } from './generate.js';
import type { CliIo } from './io.js';

/** One process's part of a command. `config` has its adapter, and for a cache its shard. */
export type AdapterJob =
  | { kind: 'precompute-ref'; config: RunConfig; splits: Array<'train' | 'eval'> }
  /** Answers of the policy, or of the baseline's model. */
  | { kind: 'sample'; config: RunConfig; model: 'policy' | 'baseline'; prompts: PromptText[] };

/** What a process tells the one that started it. */
export type AdapterMessage = { type: 'answer'; answer: Answer } | { type: 'failed'; message: string; hint?: string | undefined; exitCode: number } | { type: 'done' };

const entry = fileURLToPath(new URL('./adapter_worker.js', import.meta.url));

/** The adapters a command is shared among: `all` is the hardware ones. One alone shares nothing. */
export async function chosenAdapters(asked: string[]): Promise<string[]> {
  if (!(asked.length === 1 && asked[0] === 'all')) return asked;
  const found = await hardwareAdapters();
  if (found.length === 0) throw new InputError('adapters: all, and no hardware adapter is here', 'name software ones (--adapters llvmpipe,swiftshader), or leave --adapters out');
  return found;
}

/**
 * Runs each job in a process of its own, all at once; their words come with the adapter's name before them. When `stop` says so they finish what they are
 * at; one that fails or is killed is named when the others are through.
 */
export async function runOnAdapters(jobs: AdapterJob[], io: CliIo, o: { stopped: () => boolean; answer?: (a: Answer) => void }): Promise<void> {
  const failures: EdpoError[] = [];
  const children = new Set<ChildProcess>();
  const watch = setInterval(() => {
    if (!o.stopped()) return;
    clearInterval(watch);
    for (const child of children) if (child.connected) child.send('stop', () => undefined);
  }, 50);
  await Promise.all(jobs.map(async (job, i) => {
    const { adapter } = job.config;
    const part = `part ${i + 1} of ${jobs.length}`;
    // Ends when this process does, whatever ends it: its files must not stay an orphan's.
    const child = fork(entry, [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [], env: { ...process.env, EDPO_END_WITH_PARENT: '1' } });
    children.add(child);
    io.say(`"${adapter}": process ${child.pid} has ${part}`);
    createInterface({ input: child.stderr! }).on('line', (line) => {
      const warning = /^(?:\x1b\[\d+m)?warning:(?:\x1b\[0m)? (.*)$/.exec(line);
      if (warning) io.warn(`[${adapter}] ${warning[1]}`);
      else if (line !== '') io.say(`[${adapter}] ${line}`);
    });
    let told = false;
    child.on('message', (m: AdapterMessage) => {
      if (m.type === 'answer') o.answer?.(m.answer);
      else told = true;
      if (m.type === 'failed') failures.push(new EdpoError(`on "${adapter}" (${part}): ${m.message}`, { exitCode: m.exitCode === 2 || m.exitCode === 130 ? m.exitCode : 1, ...(m.hint === undefined ? {} : { hint: m.hint }) }));
    });
    // One that is gone before it takes the job is named below, like any that ends early.
    child.on('error', () => undefined);
    child.send(job, () => undefined);
    const [code, signal] = await new Promise<[number | null, string | null]>((done) => child.on('close', (c, s) => done([c, s])));
    children.delete(child);
    if (!told) failures.push(new EdpoError(`the process on "${adapter}" (${part}) was ${signal ? `killed by ${signal}` : `gone with exit code ${code}`} before it was through; what is done is kept`, { hint: 'the same command goes on with the rest' }));
    if (failures.length > 0 && children.size > 0) io.say(`"${adapter}" has failed; the other${children.size > 1 ? 's go' : ' goes'} on`);
  }));
  clearInterval(watch);
  if (failures.length === 0 || o.stopped()) return;
  if (failures.length === 1) throw failures[0]!;
  throw new EdpoError(failures.map((f) => f.message).join('\n'), { exitCode: failures[0]!.exitCode, hint: failures[0]!.hint! });
}
