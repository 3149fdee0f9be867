import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import { tileFor } from '../gpu/matrices.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec } from './families/spec.js';
import { hasTerms, type LossDefinition } from './losses/types.js';
import { memoryPlan, type MemoryPlan } from './memory.js';
import { optimisers } from './optim/index.js';
import { optimiserSettings } from './optim/settings.js';
import { optimiserBytes } from './optim/state.js';
import { bytesText } from './reference.js';
import { frozenStorage, IN_F32, trainedStorage, type FrozenSource, type StorageKeys } from './storage.js';

type Keys = Pick<RunConfig, 'dtype' | 'token_budget' | 'gradient_checkpointing' | 'gradient_checkpointing_granularity' | 'activation_dtype' | 'ref_mode' | 'ref_cache_dtype' | 'sync_ref_model' | 'optim' | 'sgd_momentum' | 'master_dtype'> & StorageKeys;

/** Before the adapter is known: operands padded as for matrices of 16 x 16 x 16, which pads at least as far as any other. */
const USUAL_TILE = tileFor({ MM: 16, MN: 16, MK: 16, SG: 32 }, { workgroupInvocations: 1024, workgroupBytes: 32768 });

/** Formats of the weights' files. */
type Files = FrozenSource['formatOf'];
/** As config.json says, which a plan without weights goes by. */
const specFormats = (spec: ModelSpec): Files => () => spec.storedFormat ?? 'F32';

/** What a LoRA run holds besides: `shared` where the reference is its own frozen base. */
export type LoraMemory = { rank: number; parameters: number; list: ParameterSpec[]; dropout: boolean; shared: boolean } | undefined;

/** The plan of a training run with these keys. @param rows of a micro-batch, where they are others than the budget's */
export function trainingMemory(spec: ModelSpec, loss: LossDefinition, c: Keys, lora: LoraMemory, rows = c.token_budget, files: Files = specFormats(spec)): MemoryPlan {
  const needs = loss.needs.reference;
  const frozen = frozenStorage(c, { spec, formatOf: files });
  return memoryPlan({
    spec, rows, keep: !c.gradient_checkpointing ? 'train' : c.gradient_checkpointing_granularity === 'mlp' ? 'mlp' : 'checkpoint', format: c.activation_dtype,
    reference: needs === 'none' ? 'none' : c.ref_mode !== 'cache' ? 'live' : needs === 'hidden' ? 'head' : 'logps',
    rounded: needs === 'hidden' && c.ref_mode === 'cache' && c.ref_cache_dtype === 'float16',
    terms: hasTerms(loss.needs) ? 8 + (loss.needs.tokenWeights ? 2 : 0) + (loss.needs.sharpness ? 2 : 0) + (loss.needs.refEntropy ? 4 : 0) : 0,
    lora, sharedReference: lora?.shared, storage: { policy: lora ? frozen : trainedStorage(c), reference: c.sync_ref_model ? IN_F32 : frozen },
    optimiser: optimiserBytes(optimisers[c.optim], lora?.list ?? parameterSpecs(spec), spec, optimiserSettings(c)),
    ...(c.dtype === 'mixed_f16' ? { mixed: USUAL_TILE } : {}),
  });
}

export interface Change {
  flags: string;
  total: number;
  cost: string;
}

/**
 * The changes that save memory, cheapest in time first, each on top of those before it (user-anchors 2, row 1): at most three, ending with the first
 * set that fits; what cannot save anything is left out.
 * @param longest rows of the longest document, below which no budget may go
 */
export function cheaperPlans(spec: ModelSpec, loss: LossDefinition, c: Keys, longest: number, limit: number, lora: LoraMemory, files: Files = specFormats(spec)): Change[] {
  const found: Change[] = [];
  let keys = { ...c };
  let total = trainingMemory(spec, loss, keys, lora, keys.token_budget, files).total;
  const step = (flags: string, over: Partial<Keys>, cost: string): void => {
    const next = { ...keys, ...over };
    const bytes = trainingMemory(spec, loss, next, lora, next.token_budget, files).total;
    if (total <= limit || bytes >= total) return;
    keys = next;
    total = bytes;
    found.push({ flags, total, cost });
  };
  if (loss.needs.reference !== 'none') step('--ref_mode cache', { ref_mode: 'cache' }, 'disk for the reference’s states, and faster steps');
  // Halved as long as that is needed: small micro-batches use the card less well.
  let budget = keys.token_budget;
  while (budget > longest && trainingMemory(spec, loss, keys, lora, budget, files).total > limit) budget = Math.max(longest, Math.floor(budget / 2));
  const whole = trainingMemory(spec, loss, { ...keys, gradient_checkpointing: true }, lora, budget, files).total;
  step(`--token_budget ${budget}`, { token_budget: budget }, whole <= limit ? 'more micro-batches a step' : 'more micro-batches a step; the longest document allows no less');
  step('--gradient_checkpointing true', { gradient_checkpointing: true }, 'about a third more time');
  if (lora && !keys.load_in_4bit) step('--load_in_4bit true --use_bnb_nested_quant true', { load_in_4bit: true, load_in_8bit: false, use_bnb_nested_quant: true }, 'QLoRA: the base in 4 bits, which changes it a little');
  return found;
}

/** Refuses a run that is planned larger than `gpu_memory`, before anything is allocated. @throws InputError with the cheapest changes */
export function requireMemory(spec: ModelSpec, loss: LossDefinition, c: Keys & Pick<RunConfig, 'gpu_memory'>, memory: MemoryPlan, longest: number, lora: LoraMemory, files: Files = specFormats(spec)): void {
  if (c.gpu_memory === undefined) return;
  const limit = c.gpu_memory * 1e9;
  if (memory.total <= limit) return;
  const changes = cheaperPlans(spec, loss, c, longest, limit, lora, files);
  const last = changes.at(-1);
  const fits = last !== undefined && last.total <= limit;
  const lines = changes.map((x, i) => `${i === 0 ? '' : 'and '}${x.flags}: ${bytesText(x.total)} (${x.cost})`);
  throw new InputError(
    `the plan takes ${bytesText(memory.total)} on the GPU, gpu_memory is ${bytesText(limit)}`,
    [...lines, ...(fits ? [] : [`${changes.length === 0 ? 'no setting saves anything' : 'that is still too much'}: ${bytesText(memory.parts['weights']! + (memory.parts['gradients'] ?? 0) + (memory.parts['optimiser state'] ?? 0))} are weights, gradients and optimiser state; ${lora ? '' : '--use_peft true (LoRA), '}a smaller model or a larger card`])].join('; '),
  );
}
