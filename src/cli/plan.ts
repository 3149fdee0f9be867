import { hasData } from '../config/contradictions_data.js';
import { AUTO_BUDGET, type RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import { largestBudget, rowBounds } from '../model/auto_budget.js';
import { parameterCount } from '../model/families/spec.js';
import type { LossDefinition } from '../model/losses/types.js';
import { paddedRows } from '../model/data/audit.js';
import { loraMemory, loraOf } from '../model/lora_run.js';
import { describeHeadTiles } from '../model/memory.js';
import { trainingMemory } from '../model/memory_advice.js';
import { requireMemory } from '../model/memory_changes.js';
import { openConfig } from '../model/models.js';
import { bytesText } from '../model/reference.js';
import { BUDGETS, planJson, planTable, planText, SETUPS } from '../model/plan_table.js';
import { documentsOf, groupSizeOf, longestRows, lossOf, mismatchRoom, openInputs, openSplit, requireBothKinds, sequenceCapacity, sidesOf } from '../model/session.js';
import { countMicroBatches } from '../model/train/batches.js';
import { stepPlan, stillReference } from '../model/train/plan.js';
import type { CliIo } from './io.js';

/** Ways to train a model and what fits which card, from its config.json alone. */
async function modelPlan(config: RunConfig, io: CliIo): Promise<number> {
  const spec = await openConfig(config.model_name_or_path!, config, io);
  const table = planTable(spec, config, SETUPS, [...new Set([...BUDGETS, ...(config.token_budget === AUTO_BUDGET ? [] : [config.token_budget])])].sort((a, b) => a - b));
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
  const store = await openSplit(config, inputs, 'train', sidesOf(loss), io);
  requireBothKinds(store, loss, config, io);
  const source = documentsOf(store, loss, mismatchRoom(config, inputs.policy));
  const plan = stepPlan(config, source.count);
  const still = stillReference(config, plan);
  if (still) io.warn(still);
  const all = Array.from({ length: source.count }, (_, i) => i);
  const rows = all.reduce((n, i) => n + source.rows(i), 0);
  const other = source.mismatchedTokens ? all.reduce((n, i) => n + source.mismatchedTokens!(i), 0) : 0;
  const scored = all.reduce((n, i) => n + source.tokens(i), 0) + other;
  const longest = all.reduce((n, i) => Math.max(n, longestRows(source, i)), 0);
  if (config.token_budget === AUTO_BUDGET) {
    const total = (n: number): number => trainingMemory(inputs.policy.spec, loss, config, lora, n).total;
    config = { ...config, token_budget: largestBudget(total, rowBounds(source, plan.batch), config.gpu_memory! * 1e9, { bindingBytes: 2 ** 31, widest: Math.max(inputs.policy.spec.D, inputs.policy.spec.F) }) };
  }
  const padded = paddedRows(store, loss.needs.unpaired ? store.sides : loss.needs.branches);
  const needs = loss.needs.reference;
  const memory = trainingMemory(inputs.policy.spec, loss, config, lora, Math.max(config.token_budget, longest), (p) => inputs.policy.formatOf(p));
  const cache = needs === 'none' ? 0 : scored * 12 + (needs === 'hidden' ? scored * inputs.reference.spec.D * (config.ref_cache_dtype === 'float16' ? 2 : 4) : 0);
  const micro = longest > config.token_budget ? undefined : countMicroBatches(source, all.slice(0, plan.batch), loss, { rows: config.token_budget, sequences: sequenceCapacity(config.token_budget) }, groupSizeOf(config));
  // The table is the command's result: on stdout, unless that is to be JSON.
  const say = (line: string): void => io.json ? undefined : io.out(line);
  say(`model: ${(parameterCount(inputs.policy.spec) / 1e6).toFixed(2)} M parameters${lora ? `, ${(lora.parameters / 1e6).toFixed(2)} M of adapters trained` : ''}`);
  say(`steps: ${plan.totalSteps} of ${plan.batch} documents, ${plan.stepsPerEpoch} an epoch, ${plan.schedule.warmupSteps} of warm-up; about ${micro?.losses ?? '?'} micro-batches a step`);
  if (loss.group) say(groupLine(loss, groupSizeOf(config), micro?.scores));
  say(`rows an epoch: ${rows} (${scored} scored); a padded trainer would run ${padded} (${(padded / rows).toFixed(2)} times as many)`);
  say(`longest document: ${longest} rows; token_budget ${config.token_budget}${longest > config.token_budget ? ' is too small: raise it to that' : ''}`);
  for (const [part, bytes] of Object.entries(memory.parts)) say(`  ${part.padEnd(30)} ${bytesText(bytes)}`);
  say(`  ${'GPU memory in all'.padEnd(30)} ${bytesText(memory.total)}`);
  say(`the head’s logits: ${describeHeadTiles(memory)}`);
  if (cache > 0) say(`reference cache on disk: about ${bytesText(cache)}`);
  if (io.json) io.out(JSON.stringify({ steps: plan.totalSteps, documents: source.count, rows, scored_rows: scored, ...(loss.group && micro ? { log_prob_passes: micro.scores } : {}), padded_rows: padded, longest, memory: memory.parts, memory_bytes: memory.total, head_tiles: memory.headTiles, cache_bytes: cache }));
  store.close();
  requireMemory({ spec: inputs.policy.spec, loss, config, lora, longest, files: (p) => inputs.policy.formatOf(p) }, memory);
  return 0;
}

/** What the groups of a method cost. */
function groupLine(loss: LossDefinition, size: number, scores: number | undefined): string {
  const what = loss.group!.of === 'mismatched' ? 'log-ratios of mismatched pairs' : 'log-probs';
  return scores === 0
    ? `${loss.name} takes statistics over ${size} documents: each group fits a micro-batch, no other pass`
    : `${loss.name} takes statistics over ${size} documents (group_size), more than a micro-batch holds: one more forward pass for their ${what}, ${scores ?? '?'} micro-batches a step`;
}
