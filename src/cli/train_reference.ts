import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { TokenStore } from '../model/data/store.js';
import type { ReferencePlan } from '../model/engine_types.js';
import { loadFrozen } from '../model/frozen.js';
import type { LossDefinition } from '../model/losses/types.js';
import type { Parameters } from '../model/parameters.js';
import { ensureCache } from '../model/reference.js';
import { headName, type Inputs } from '../model/session.js';
import { noReferenceRows, type ReferenceSource } from '../model/train/types.js';
import type { CliIo } from './io.js';

export interface TrainingReference {
  reference: ReferencePlan;
  /** Cached rows of the training and the evaluation data; of nothing where there is no cache. */
  trainRows: ReferenceSource;
  evalRows: ReferenceSource;
}

/**
 * The reference of a training run: none, live, or a cache of both splits, made where it is absent.
 * @param o.base the policy's frozen base, where that is the reference; @param o.whole the reference's weights, loaded once they are needed
 * @throws InputError where ties must be exact and the cache is another adapter's or other kernels'
 */
export async function openReference(o: {
  config: RunConfig; io: CliIo; gpu: Gpu; inputs: Inputs; loss: LossDefinition; train: TokenStore; evaluation: TokenStore | undefined;
  base: Parameters | undefined; whole: () => Promise<Parameters>; stop: () => boolean;
}): Promise<TrainingReference> {
  const { config, io, gpu, inputs, loss, whole } = o;
  const needs = loss.needs.reference;
  const rows = { trainRows: noReferenceRows, evalRows: noReferenceRows };
  if (needs === 'none') return { reference: { kind: 'none' }, ...rows };
  if (config.ref_mode !== 'cache') return { reference: { kind: 'live', parameters: await whole() }, ...rows };
  const open = (store: TokenStore, split: string): ReturnType<typeof ensureCache> =>
    ensureCache(config, inputs, store, split, loss, { gpu, io, reference: whole, mayWrite: true, stop: o.stop });
  const train = await open(o.train, 'train');
  const evaluation = o.evaluation && (await open(o.evaluation, 'eval'));
  const differ = [...new Set([...train.kernels, ...(evaluation?.kernels ?? [])])];
  if (!(train.exactTies && (evaluation?.exactTies ?? true)) && loss.adaptiveBeta && config.criterion === 'exact') {
    throw new InputError(`this reference cache comes from another adapter or other kernels (${differ.join(', ')}), so ties between policy and reference are not exact`, differ.includes('arithmetic') ? 'the dtype the cache was made with, or make it anew (another --ref_cache)' : '--criterion deadzone --criterion_deadzone 1e-4 (f32 kernels differ by about 1e-5 in Δ), or make the cache on this adapter');
  }
  if (differ.includes('arithmetic')) io.warn('this reference cache was made in another dtype: policy and reference differ by rounding even where they are equal');
  const head = needs !== 'hidden' ? undefined : (o.base ?? (await loadFrozen(gpu, inputs.reference, 'reference head', config, { only: [headName(inputs.reference)] })));
  return { reference: { kind: 'cache', ...(head ? { head } : {}), rounded: train.rounded }, trainRows: train.source, evalRows: evaluation?.source ?? noReferenceRows };
}
