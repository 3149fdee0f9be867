import type { RunConfig } from '../config/keys.js';
import { InputErrors } from '../errors.js';
import type { ModelSpec } from './families/spec.js';
import { adaptersOf } from './lora_run.js';
import { wantsLive, type LossDefinition } from './losses/types.js';
import type { MemoryPlan } from './memory.js';
import { trainingMemory, type LoraMemory } from './memory_advice.js';
import { bytesText } from './reference.js';
import type { FrozenSource } from './storage.js';

/** A set of changes to a configuration that belong together, its plan, and what they cost. */
export interface Change {
  flags: string;
  total: number;
  cost: string;
}

/** What is planned: a model, a method, a configuration, and the rows of the longest document, below which no budget may go. */
export interface Planned {
  spec: ModelSpec;
  loss: LossDefinition;
  config: RunConfig;
  lora: LoraMemory;
  longest: number;
  files?: FrozenSource['formatOf'];
}

/** One thing to change. `price` orders changes: what takes time before what alters numbers, what alters numbers before what trains something else. */
interface Lever {
  flags: string;
  keys: Partial<RunConfig>;
  price: number;
  cost: string;
  /** Frozen weights are only there with adapters. */
  frozen?: boolean;
}

/** One halving of the token budget costs less than another pass through the layers. */
const HALVING = 0.8;
/** Alternatives that are named. */
const NAMED = 3;

/** The changes a configuration has not made yet. */
function leversOf({ loss, config: c }: Planned): Lever[] {
  const adapters = c.use_peft || !c.sync_ref_model;
  return [
    ...(loss.needs.reference !== 'none' && c.ref_mode !== 'cache' && !c.sync_ref_model && !wantsLive(loss.needs) ? [{ flags: '--ref_mode cache', keys: { ref_mode: 'cache' as const }, price: 1, cost: 'disk for the reference’s states, and faster steps' }] : []),
    ...(c.head_tiles === 'kept' || c.head_tiles === 'kept_both' ? [{ flags: '--head_tiles recomputed', keys: { head_tiles: 'recomputed' as const }, price: 1.5, cost: 'the head’s logits made again for the backward pass' }] : []),
    ...(c.gradient_checkpointing ? [] : [{ flags: '--gradient_checkpointing true --gradient_checkpointing_granularity mlp', keys: { gradient_checkpointing: true, gradient_checkpointing_granularity: 'mlp' as const }, price: 2, cost: 'two products a layer made again' }]),
    ...(c.gradient_checkpointing && c.gradient_checkpointing_granularity === 'layer' ? [] : [{ flags: c.gradient_checkpointing ? '--gradient_checkpointing_granularity layer' : '--gradient_checkpointing true', keys: { gradient_checkpointing: true, gradient_checkpointing_granularity: 'layer' as const }, price: 3, cost: 'layers made again, about a third more time' }]),
    ...(c.activation_dtype === 'float32' && !(c.gradient_checkpointing && c.gradient_checkpointing_granularity === 'layer') ? [{ flags: '--activation_dtype float16', keys: { activation_dtype: 'float16' as const }, price: 3.5, cost: 'what the backward pass reads is rounded' }] : []),
    ...(c.optim === 'adamw_torch' ? [{ flags: '--optim adamw_8bit', keys: { optim: 'adamw_8bit' as const }, price: 4, cost: 'moments in 8 bits' }] : []),
    ...(adapters && (c.base_dtype === 'auto' || c.base_dtype === 'float32') ? [{ flags: '--base_dtype bfloat16', keys: { base_dtype: 'bfloat16' as const }, price: 4.5, cost: 'frozen weights rounded', frozen: true }] : []),
    ...(adapters && !c.load_in_4bit && !c.load_in_8bit ? [{ flags: '--load_in_8bit true', keys: { load_in_8bit: true }, price: 5, cost: 'the frozen matrices in 8 bits, which changes them a little', frozen: true }] : []),
    ...(adapters && !c.load_in_4bit ? [{ flags: `${c.load_in_8bit ? '--load_in_8bit false ' : ''}--load_in_4bit true --use_bnb_nested_quant true`, keys: { load_in_4bit: true, load_in_8bit: false, use_bnb_nested_quant: true }, price: 6, cost: 'QLoRA: the frozen matrices in 4 bits, which changes them a little', frozen: true }] : []),
    ...(adapters && !c.use_peft ? [{ flags: '--use_peft true', keys: { use_peft: true }, price: 10, cost: 'LoRA: adapters are trained, not the weights' }] : []),
  ];
}

/** Can these be made together? */
function together(levers: Lever[], c: RunConfig): boolean {
  if (levers.some((l) => l.frozen) && !c.use_peft && !levers.some((l) => l.keys.use_peft)) return false;
  const sets = (key: keyof RunConfig, value?: unknown): number => levers.filter((l) => key in l.keys && (value === undefined || l.keys[key] === value)).length;
  // Where whole layers are made again, nothing is kept that could have another format.
  if (sets('gradient_checkpointing_granularity', 'layer') > 0 && sets('activation_dtype') > 0) return false;
  return sets('gradient_checkpointing_granularity') < 2 && sets('load_in_8bit') < 2;
}

/** Is one selection of levers (a bit each) part of another? */
const within = (part: number, whole: number): boolean => (part & whole) === part;

/** A selection of levers and the halvings of the token budget. */
interface Selection extends Change {
  bits: number;
  halvings: number;
  price: number;
}

/**
 * The cheapest ways to fit, each by itself enough and without a change that it could do without: single changes and combinations alike
 * (user-anchors 2, row 1). `least` is the smallest plan that any of the changes reach.
 * @param limit bytes
 */
export function cheapestChanges(p: Planned, limit: number): { fits: Change[]; least: Change } {
  const { config: c } = p;
  const levers = leversOf(p);
  const budgets = [Math.max(c.token_budget, p.longest)];
  while (budgets.at(-1)! > p.longest) budgets.push(Math.max(p.longest, Math.floor(budgets.at(-1)! / 2)));
  const found: Selection[] = [];
  let least: Selection | undefined;
  for (let bits = 0; bits < 1 << levers.length; bits++) {
    const chosen = levers.filter((_, i) => bits & (1 << i));
    if (!together(chosen, c)) continue;
    const keys = { ...c, ...Object.assign({}, ...chosen.map((l) => l.keys)) } as RunConfig;
    const lora = p.lora ?? adaptersOf(p.spec, keys);
    const at = (halvings: number): Selection => {
      const rows = budgets[halvings]!;
      const smaller = halvings > 0 ? [{ flags: `--token_budget ${rows}`, cost: `more micro-batches a step${rows === p.longest ? '; the longest document allows no less' : ''}` }] : [];
      const all = [...chosen.filter((l) => l.keys.ref_mode !== undefined), ...smaller, ...chosen.filter((l) => l.keys.ref_mode === undefined)];
      return {
        bits, halvings, price: chosen.reduce((n, l) => n + l.price, halvings * HALVING), flags: all.map((l) => l.flags).join(' '), cost: all.map((l) => l.cost).join('; '),
        total: trainingMemory(p.spec, p.loss, { ...keys, token_budget: rows }, lora, rows, p.files).total,
      };
    };
    const most = at(budgets.length - 1);
    if (!least || most.total < least.total || (most.total === least.total && most.price < least.price)) least = most;
    const first = budgets.findIndex((_, halvings) => at(halvings).total <= limit);
    if (first >= 0) found.push(at(first));
  }
  const needless = (s: Selection): boolean => found.some((x) => x !== s && within(x.bits, s.bits) && x.halvings <= s.halvings);
  const fits = found.filter((s) => !needless(s)).sort((a, b) => a.price - b.price || a.total - b.total);
  return { fits, least: least! };
}

/** Refuses a run that is planned larger than `gpu_memory`, before anything is allocated. @throws InputErrors with the three cheapest ways to fit, or how far all there are lead */
export function requireMemory(p: Planned, memory: MemoryPlan): void {
  if (p.config.gpu_memory === undefined) return;
  const limit = p.config.gpu_memory * 1e9;
  if (memory.total <= limit) return;
  const { fits, least } = cheapestChanges(p, limit);
  const named = fits.slice(0, NAMED);
  const part = (name: string): number => memory.parts[name] ?? 0;
  const fixed = `${bytesText(part('weights') + part('gradients') + part('optimiser state'))} of it weights, gradients and optimiser state`;
  const floor = least.flags === '' ? 'no setting takes less' : `the least that settings reach is ${bytesText(least.total)}, with ${least.flags}`;
  throw new InputErrors(
    `the plan takes ${bytesText(memory.total)} on the GPU (${fixed}), gpu_memory is ${bytesText(limit)}; ${
      named.length === 0 ? `no setting fits: ${floor}` : `${named.length < NAMED ? `only ${named.length === 1 ? 'one way fits' : `${named.length} ways fit`}` : 'each of these fits by itself, the cheapest first'}:`}`,
    named.map((x) => `${x.flags}: ${bytesText(x.total)} (${x.cost})`),
    named.length === NAMED ? undefined : `${named.length === 0 ? '' : `${floor}; below that `}a smaller model, shorter documents (the longest takes ${p.longest} rows: --max_length) or a larger card`,
  );
}
