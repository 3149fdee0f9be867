import { join } from 'node:path';
import type { RunConfig } from '../config/keys.js';
import { EdpoError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { loadFrozen } from '../model/frozen.js';
import type { ModelFolder } from '../model/files/hf_folder.js';
import type { Queue } from '../model/judge/queue.js';
import { openKeptLines, type KeptLine } from '../model/judge/kept_lines.js';
import { type Inputs } from '../model/session.js';
import { runOnAdapters, type AdapterJob } from './adapter_processes.js';
import { sampleAnswers, type Answer, type PromptText } from './generate.js';
import type { CliIo } from './io.js';
import { Progress } from './progress.js';

/** What sampling answers for a win rate takes. */
export interface Sampling {
  config: RunConfig;
  io: CliIo;
  inputs: Inputs;
  prompts: PromptText[];
  dir: string;
  device: () => Promise<Gpu>;
  /** The user asked to end, or the judge failed: sampling more would be for nothing. */
  stopped: () => boolean;
}

/** What an answer depends on besides model and prompt. */
export const samplingOf = (c: RunConfig, seed = c.seed): object => ({ temperature: c.category_temperatures ? 'by category' : c.temperature, top_p: c.top_p, top_k: c.top_k, max_new_tokens: c.max_new_tokens, seed, ...(c.realign === undefined ? {} : { realign: c.realign }) });

export const interruption = (dir: string): EdpoError => new EdpoError(`interrupted; answers and verdicts so far are in ${dir}`, { exitCode: 130, hint: 'the same command goes on with the rest' });

export function interruptedBy(s: Pick<Sampling, 'stopped' | 'dir'>): void {
  if (s.stopped()) throw interruption(s.dir);
}

/**
 * Judging beside sampling: `sample` fills the queue that `judging` reads from, which ends when both are through. A judge that fails ends the sampling
 * (`failed` says so) and is what is reported.
 */
export async function whileSampling<T>(queue: Queue<T>, judging: Promise<unknown>, sample: (failed: () => boolean) => Promise<void>): Promise<void> {
  let failure: { error: unknown } | undefined;
  const judged = judging.catch((error: unknown) => (failure = { error }));
  let broken: { error: unknown } | undefined;
  await sample(() => failure !== undefined).catch((error: unknown) => (broken = { error }));
  queue.end();
  await judged;
  const first = failure ?? broken;
  if (first) throw first.error;
}

/** Samples what is not in `<name>.ndjson` yet; every finished answer is a line, so a killed run goes on. */
export async function sampled(s: Sampling, name: string, folder: ModelFolder, each: (a: Answer) => void): Promise<Map<number, Answer>> {
  const { config, io, prompts } = s;
  const aligned = config.realign !== undefined;
  const { log, lines } = openKeptLines(join(s.dir, `${name}.ndjson`), { weights: folder.weightsHash(), sampling: samplingOf(config), ...(aligned ? { reference: s.inputs.reference.weightsHash() } : {}) }, (t) => io.say(`note: ${t}`));
  const answers = new Map<number, Answer>();
  const wanted = new Set(prompts.map((p) => p.index));
  for (const line of lines.filter((l) => wanted.has(l['index'] as number))) {
    const answer = line as KeptLine & Answer;
    answers.set(answer.index, answer);
    each(answer);
  }
  const left = prompts.filter((p) => !answers.has(p.index));
  const keep = (answer: Answer): void => {
    answers.set(answer.index, answer);
    log.append(`${JSON.stringify(answer)}\n`);
    each(answer);
    progress.update(answers.size);
  };
  const progress = new Progress(io, name, prompts.length, answers.size);
  const adapters = config.adapters ?? [];
  if (left.length > 0 && adapters.length > 1) {
    // Every n-th prompt, so that long ones are spread.
    const jobs = adapters.map((adapter, i): AdapterJob => ({ kind: 'sample', config: { ...config, adapters: undefined, adapter }, model: folder === s.inputs.policy ? 'policy' : 'baseline', prompts: left.filter((_, k) => k % adapters.length === i) }));
    await runOnAdapters(jobs.filter((j) => j.kind === 'sample' && j.prompts.length > 0), io, { stopped: s.stopped, answer: keep });
  } else if (left.length > 0) {
    const gpu = await s.device();
    const weights = await loadFrozen(gpu, folder, name, config, { io });
    const reference = aligned ? await loadFrozen(gpu, s.inputs.reference, 'reference', config, { io }) : undefined;
    await sampleAnswers(gpu, weights, left, config, s.inputs, keep, s.stopped, reference);
    weights.destroy();
    reference?.destroy();
  }
  log.close();
  return answers;
}
