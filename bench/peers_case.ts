import type { Gpu } from '../src/gpu/device.js';
import type { ModelSpec } from '../src/model/families/spec.js';
import { losses } from '../src/model/losses/index.js';
import { documentsOfPair, type PairIds } from './peers_tokens.js';
import { trainingCase, type Dtype } from './training_case.js';

export interface PeerCase {
  gpu: Gpu;
  spec: ModelSpec;
  pairs: PairIds[];
  /** Pairs of an optimiser step; token rows of a micro-batch at most. */
  perStep: number;
  budget: number;
  warm: number;
  steps: number;
  /** Fewer steps where these take longer. */
  seconds: number;
  dtype: Dtype;
  method: 'sigmoid' | 'epsilon_dpo';
  /** The prompt's rows once for both responses, or once for each. */
  shared: boolean;
}

export interface PeerFigures {
  steps: number;
  seconds: number;
  pairs_per_second: number;
  useful_tokens_per_second: number;
  setup_s: number;
  first_step_s: number;
  time_to_first_step_s: number;
  peak_bytes: number;
  peak_of: string;
  rows: number;
  /** A step, on the mean. */
  micro_batches: number;
  /** Steps, the warm-up's included, whose gradients were not finite: a wrong figure if there are any beyond the first. */
  skipped_steps: number;
  reference: string;
}

/**
 * Times optimiser steps as `train` makes them: packed micro-batches within the budget, read-back one step late, the reference from a cache (log-probs; for ε-DPO hidden states
 * and the frozen head). Without prefix sharing a pair is two documents under a loss of single responses with the same terms (APO-zero), and for ε-DPO the criterion's columns beside
 * it: the same rows run and are scored.
 */
export async function measurePeer(c: PeerCase): Promise<PeerFigures> {
  const { gpu, spec, shared } = c;
  const states = c.method === 'epsilon_dpo';
  const at = (step: number): number[] => Array.from({ length: c.perStep }, (_, i) => step * c.perStep + i);
  const { plan, capacity, setupMs, submit } = await trainingCase({
    gpu, spec, loss: shared ? losses[c.method] : losses.apo_zero_unpaired, params: shared ? { label_smoothing: 0 } : {}, criterionColumns: states && !shared,
    reference: 'cached', dtype: c.dtype, budget: c.budget,
    steps: Array.from({ length: c.warm + c.steps }, (_, step) => at(step).flatMap((i) => documentsOfPair(c.pairs[i % c.pairs.length]!, i, shared))),
  });
  const ready = performance.now();
  let [first, from, micros, steps] = [0, 0, 0, 0];
  let pending: Array<() => Promise<unknown>> = [];
  let skipped = 0;
  const finish = async (): Promise<void> => {
    for (const read of pending) {
      const result = await read();
      if (typeof result === 'object' && result !== null && 'skipped' in result && result.skipped) skipped++;
    }
    pending = [];
  };
  for (const [i, micro] of plan.entries()) {
    // Step 1 and the step before the timed ones end with an empty queue; otherwise a step is read after the next is on its way.
    const next = submit(i);
    await finish();
    pending = next;
    const last = i === plan.length - 1 || (i >= c.warm && performance.now() - from > 1000 * c.seconds);
    if (i === 0 || i === c.warm - 1 || last) await finish();
    if (i === 0) first = performance.now();
    if (i === c.warm - 1) from = performance.now();
    if (i >= c.warm) [micros, steps] = [micros + micro.length, steps + 1];
    if (last) break;
  }
  const seconds = (performance.now() - from) / 1000;
  const timed = Array.from({ length: steps * c.perStep }, (_, i) => c.pairs[(c.warm * c.perStep + i) % c.pairs.length]!);
  const tokens = timed.reduce((n, p) => n + p.prompt_ids.length + p.chosen_ids.length + p.rejected_ids.length, 0);
  return {
    steps, seconds, pairs_per_second: timed.length / seconds, useful_tokens_per_second: tokens / seconds,
    setup_s: setupMs / 1000, first_step_s: (first - ready) / 1000, time_to_first_step_s: (first - ready + setupMs) / 1000,
    peak_bytes: gpu.bytesPeak, peak_of: 'GPU buffers', rows: capacity.rows, micro_batches: micros / steps, skipped_steps: skipped, reference: 'cache',
  };
}
