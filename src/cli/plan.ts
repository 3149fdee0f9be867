import { hasData } from '../config/contradictions.js';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import { parameterCount } from '../model/families/spec.js';
import { paddedRows } from '../model/data/audit.js';
import { loraMemory, loraOf } from '../model/lora_run.js';
import { trainingMemory } from '../model/memory_advice.js';
import { requireMemory } from '../model/memory_changes.js';
import { openConfig } from '../model/models.js';
import { bytesText } from '../model/reference.js';
import { BUDGETS, planJson, planTable, planText, SETUPS } from '../model/plan_table.js';
import { documentsOf, lossOf, openInputs, openSplit } from '../model/session.js';
import { planMicroBatches } from '../model/batch/pack.js';
import { sequenceCapacity } from '../model/session.js';
import { stepPlan } from '../model/train/plan.js';
import type { CliIo } from './io.js';

/** Ways to train a model and what fits which card, from its config.json alone. */
async function modelPlan(config: RunConfig, io: CliIo): Promise<number> {
  const spec = await openConfig(config.model_name_or_path!, config, io);
  const table = planTable(spec, config, SETUPS, [...new Set([...BUDGETS, config.token_budget])].sort((a, b) => a - b));
  if (io.json) io.out(JSON.stringify(planJson(spec, config, table)));
  else for (const line of planText(spec, config, table)) io.out(line);
  return 0;
}

/**
 * `edpo plan`: steps, rows, memory and disk of a run, from configuration and data alone; no GPU. A plan beyond `gpu_memory` ends with exit code 2.
 * Without data: what the model takes by ways to train it and token budgets.
 */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  if (config.model_name_or_path === undefined) throw new InputError('model_name_or_path is required');
  if (!hasData(config)) return modelPlan(config, io);
  const inputs = await openInputs(config, io);
  const loss = lossOf(config);
  const lora = loraMemory(config, inputs, loraOf(config, inputs, io));
  const store = await openSplit(config, inputs, 'train', loss.needs.branches, io);
  const source = documentsOf(store);
  const plan = stepPlan(config, store.count);
  const sizes = Array.from({ length: store.count }, (_, i) => ({ rows: source.rows(i), sequences: loss.needs.branches, id: source.id(i) }));
  const rows = sizes.reduce((n, s) => n + s.rows, 0);
  const scored = Array.from({ length: store.count }, (_, i) => source.tokens(i)).reduce((a, b) => a + b, 0);
  const longest = sizes.reduce((n, s) => Math.max(n, s.rows), 0);
  const padded = paddedRows(store, loss.needs.branches);
  const needs = loss.needs.reference;
  const memory = trainingMemory(inputs.policy.spec, loss, config, lora, Math.max(config.token_budget, longest), (p) => inputs.policy.formatOf(p));
  const cache = needs === 'none' ? 0 : scored * 12 + (needs === 'hidden' ? scored * inputs.reference.spec.D * (config.ref_cache_dtype === 'float16' ? 2 : 4) : 0);
  const micro = longest > config.token_budget ? undefined : planMicroBatches(sizes.slice(0, plan.batch), { rows: config.token_budget, sequences: sequenceCapacity(config.token_budget) }).length;
  // The table is the command's result: on stdout, unless that is to be JSON.
  const say = (line: string): void => io.json ? undefined : io.out(line);
  say(`model: ${(parameterCount(inputs.policy.spec) / 1e6).toFixed(2)} M parameters${lora ? `, ${(lora.parameters / 1e6).toFixed(2)} M of adapters trained` : ''}`);
  say(`steps: ${plan.totalSteps} of ${plan.batch} documents, ${plan.stepsPerEpoch} an epoch, ${plan.schedule.warmupSteps} of warm-up; about ${micro ?? '?'} micro-batches a step`);
  say(`rows an epoch: ${rows} (${scored} scored); a padded trainer would run ${padded} (${(padded / rows).toFixed(2)} times as many)`);
  say(`longest document: ${longest} rows; token_budget ${config.token_budget}${longest > config.token_budget ? ' is too small: raise it to that' : ''}`);
  for (const [part, bytes] of Object.entries(memory.parts)) say(`  ${part.padEnd(30)} ${bytesText(bytes)}`);
  say(`  ${'GPU memory in all'.padEnd(30)} ${bytesText(memory.total)}`);
  if (cache > 0) say(`reference cache on disk: about ${bytesText(cache)}`);
  if (io.json) io.out(JSON.stringify({ steps: plan.totalSteps, documents: store.count, rows, scored_rows: scored, padded_rows: padded, longest, memory: memory.parts, memory_bytes: memory.total, cache_bytes: cache }));
  store.close();
  requireMemory({ spec: inputs.policy.spec, loss, config, lora, longest, files: (p) => inputs.policy.formatOf(p) }, memory);
  return 0;
}
