import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import { parameterCount } from '../model/families/spec.js';
import { memoryPlan } from '../model/memory.js';
import { bytesText } from '../model/reference.js';
import { documentsOf, lossOf, openInputs, openSplit } from '../model/session.js';
import { planMicroBatches } from '../model/batch/pack.js';
import { sequenceCapacity } from '../model/session.js';
import { stepPlan } from '../model/train/plan.js';
import type { CliIo } from './io.js';

/** `edpo plan`: steps, rows, memory and disk of a run, from configuration and data alone; no GPU. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  if (config.model_name_or_path === undefined) throw new InputError('model_name_or_path is required');
  const inputs = await openInputs(config, io);
  const loss = lossOf(config);
  const store = await openSplit(config, inputs, 'train', loss.needs.branches, io);
  const source = documentsOf(store);
  const plan = stepPlan(config, store.count);
  const sizes = Array.from({ length: store.count }, (_, i) => ({ rows: source.rows(i), sequences: loss.needs.branches, id: source.id(i) }));
  const rows = sizes.reduce((n, s) => n + s.rows, 0);
  const scored = Array.from({ length: store.count }, (_, i) => source.tokens(i)).reduce((a, b) => a + b, 0);
  const longest = Math.max(...sizes.map((s) => s.rows));
  // What a padded trainer runs: each side with its own copy of the prompt, both as long as the longest of a batch of eight.
  let padded = 0;
  for (let i = 0; i < store.count; i += 8) {
    const group = Array.from({ length: Math.min(8, store.count - i) }, (_, k) => store.promptLengths[i + k]! + Math.max(...store.responseLengths[i + k]!));
    padded += Math.max(...group) * group.length * loss.needs.branches;
  }
  const needs = loss.needs.reference;
  const memory = memoryPlan({
    spec: inputs.policy.spec, rows: Math.max(config.token_budget, longest), keep: config.gradient_checkpointing ? 'checkpoint' : 'train',
    reference: needs === 'none' ? 'none' : config.ref_mode === 'live' ? 'live' : needs === 'hidden' ? 'head' : 'logps', rounded: config.ref_cache_dtype === 'float16',
  });
  const cache = needs === 'none' ? 0 : scored * 12 + (needs === 'hidden' ? scored * inputs.reference.spec.D * (config.ref_cache_dtype === 'float16' ? 2 : 4) : 0);
  const micro = longest > config.token_budget ? undefined : planMicroBatches(sizes.slice(0, plan.batch), { rows: config.token_budget, sequences: sequenceCapacity(config.token_budget) }).length;
  // The table is the command's result: on stdout, unless that is to be JSON.
  const say = (line: string): void => io.json ? undefined : io.out(line);
  say(`model: ${(parameterCount(inputs.policy.spec) / 1e6).toFixed(2)} M parameters`);
  say(`steps: ${plan.totalSteps} of ${plan.batch} documents, ${plan.stepsPerEpoch} an epoch, ${plan.schedule.warmupSteps} of warm-up; about ${micro ?? '?'} micro-batches a step`);
  say(`rows an epoch: ${rows} (${scored} scored); a padded trainer would run ${padded} (${(padded / rows).toFixed(2)} times as many)`);
  say(`longest document: ${longest} rows; token_budget ${config.token_budget}${longest > config.token_budget ? ' is too small: raise it to that' : ''}`);
  for (const [part, bytes] of Object.entries(memory.parts)) say(`  ${part.padEnd(30)} ${bytesText(bytes)}`);
  say(`  ${'GPU memory in all'.padEnd(30)} ${bytesText(memory.total)}`);
  if (cache > 0) say(`reference cache on disk: about ${bytesText(cache)}`);
  if (io.json) io.out(JSON.stringify({ steps: plan.totalSteps, documents: store.count, rows, scored_rows: scored, padded_rows: padded, longest, memory: memory.parts, memory_bytes: memory.total, cache_bytes: cache }));
  store.close();
  return 0;
}
