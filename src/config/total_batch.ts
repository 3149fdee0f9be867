import type { RunConfig } from './keys.js';

/** Pairs (documents) of one optimiser step. */
export const totalBatch = (c: RunConfig): number => c.total_batch_size ?? c.per_device_train_batch_size * c.gradient_accumulation_steps;
