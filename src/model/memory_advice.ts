import type { RunConfig } from '../config/keys.js';
import { tileFor } from '../gpu/matrices.js';
import { headWidth } from '../gpu/ops/head.js';
import type { HeadTiles } from '../gpu/ops/kept_tiles.js';
import { pathsOfEnvironment, type Paths } from '../gpu/paths.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec } from './families/spec.js';
import { maskFloats, maskSpecs } from './learned_mask.js';
import { hasTerms, type LossDefinition } from './losses/types.js';
import { memoryPlan, type MemoryPlan } from './memory.js';
import { optimisers } from './optim/index.js';
import { optimiserSettings } from './optim/settings.js';
import { optimiserBytes } from './optim/state.js';
import { frozenStorage, IN_F32, trainedStorage, type FrozenSource, type StorageKeys } from './storage.js';

type Keys = Pick<RunConfig, 'dtype' | 'token_budget' | 'gradient_checkpointing' | 'gradient_checkpointing_granularity' | 'activation_dtype' | 'ref_mode' | 'ref_cache_dtype' | 'sync_ref_model' | 'optim' | 'sgd_momentum' | 'master_dtype' | 'head_tiles' | 'gpu_memory'> & StorageKeys;

/** Before the adapter is known (and so of a hardware adapter's head): operands padded as for matrices of 16 x 16 x 16, which pads at least as far as any other. */
export const USUAL_TILE = tileFor({ MM: 16, MN: 16, MK: 16, SG: 32 }, { workgroupInvocations: 1024, workgroupBytes: 32768 });

/** Formats of the weights' files. */
type Files = FrozenSource['formatOf'];
/** As config.json says, which a plan without weights goes by. */
const specFormats = (spec: ModelSpec): Files => () => spec.storedFormat ?? 'F32';

/** What a LoRA run holds besides: `shared` where the reference is its own frozen base. */
export type LoraMemory = { rank: number; parameters: number; targets: string[]; saved: string[] | undefined; list: ParameterSpec[]; dropout: number; shared: boolean } | undefined;

/**
 * The plan of a training run with these keys. `head_tiles: auto` keeps the head's logits where `gpu_memory` has room for them beside all else, in mixed precision alone, whose
 * gradients are rounded to f16 anyway; the choice follows from keys, model and rows, so that a run can be made again.
 * @param rows of a micro-batch, where they are others than the budget's
 * @param paths the fused paths of the device, where there is one yet
 */
export function trainingMemory(spec: ModelSpec, loss: LossDefinition, c: Keys, lora: LoraMemory, rows = c.token_budget, files: Files = specFormats(spec), paths: Paths = pathsOfEnvironment()): MemoryPlan {
  const needs = loss.needs.reference;
  const { tokenWeights } = loss.needs;
  const mask = tokenWeights?.from === 'learned' ? maskSpecs(spec, tokenWeights.kind) : [];
  const frozen = frozenStorage(c, { spec, formatOf: files });
  const both = loss.needs.klGradient !== undefined;
  const tile = headWidth(rows, paths.uses('head_wide'));
  const at = (headTiles: HeadTiles): MemoryPlan => memoryPlan({
    spec, rows, keep: !c.gradient_checkpointing ? 'train' : c.gradient_checkpointing_granularity === 'mlp' ? 'mlp' : 'checkpoint', format: c.activation_dtype,
    reference: needs === 'none' ? 'none' : c.ref_mode !== 'cache' ? 'live' : needs === 'hidden' ? 'head' : 'logps',
    states: needs === 'hidden', rounded: needs === 'hidden' && c.ref_mode === 'cache' && c.ref_cache_dtype === 'float16',
    terms: hasTerms(loss.needs) ? 8 + (loss.needs.tokenWeights ? 2 : 0) + (loss.needs.sharpness ? 2 : 0) + (loss.needs.refEntropy ? 4 : 0) : 0,
    ...(tokenWeights?.from === 'learned' ? { mask: { perRow: maskFloats(spec, tokenWeights.kind), parameters: mask.reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0), list: mask } } : {}),
    tile, tiled: true, klGradient: both, paths, headTiles, lora, sharedReference: lora?.shared, storage: { policy: lora ? frozen : trainedStorage(c), reference: c.sync_ref_model ? IN_F32 : frozen },
    optimiser: optimiserBytes(optimisers[c.optim], [...(lora?.list ?? parameterSpecs(spec)), ...mask], spec, optimiserSettings(c), undefined, lora ? IN_F32 : trainedStorage(c), paths),
    ...(c.dtype === 'mixed_f16' ? { mixed: USUAL_TILE } : {}),
  });
  if (c.head_tiles !== 'auto') return at(c.head_tiles === 'kept_both' && !both ? 'kept' : c.head_tiles);
  const none = at('recomputed');
  const { gpu_memory } = c;
  // A vocabulary of one tile stands as it is.
  if (c.dtype !== 'mixed_f16' || gpu_memory === undefined || spec.V <= tile || !paths.uses('head_tiles_kept')) return none;
  const ways: HeadTiles[] = both ? ['kept_both', 'kept'] : ['kept'];
  return ways.map(at).find((m) => m.total <= gpu_memory * 1e9) ?? none;
}
