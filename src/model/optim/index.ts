import { adafactorOptimiser } from './adafactor.js';
import { adamw8bitOptimiser } from './adamw_8bit.js';
import { adamwTorch } from './adamw_torch.js';
import { sgdOptimiser } from './sgd.js';
import type { Optimiser } from './types.js';

/** By their names in `optim`, transformers' where it has one. A new optimiser is a file here and a line below. */
export const optimisers = { adamw_torch: adamwTorch, adamw_8bit: adamw8bitOptimiser, adafactor: adafactorOptimiser, sgd: sgdOptimiser } as const satisfies Record<string, Optimiser>;

export type OptimiserName = keyof typeof optimisers;
export const OPTIMISER_NAMES = Object.keys(optimisers) as [OptimiserName, ...OptimiserName[]];
