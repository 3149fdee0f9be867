import { perRow, perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** Partial sums of squares each tensor leaves; fixed, so that the norm does not depend on anything but the gradient. */
export const PARTIAL_SLOTS = 256;

export const partial = defineKernel({
  name: 'grad_norm.partial',
  read: { grad: 'E' },
  update: { partials: 'K' },
  args: { E: 'u32', slot: 'u32' },
  tune: { WG: 64, SLOTS: PARTIAL_SLOTS },
  grid: ({ SLOTS, WG }) => perThread(SLOTS!, WG!),
});

/**
 * Global norm, clip coefficient, finite check, step skip and Adam's t, all on the GPU. `step_state` [16]: 0 gradient norm, 1 clip
 * coefficient, 2 skip flag, 3 t, 4 = 1-beta1^t, 5 = 1-beta2^t, 6 skipped steps. A skipped step moves only 0, 1, 2 and 6.
 */
export const state = defineKernel({
  name: 'step_state.update',
  read: { partials: 'K' },
  update: { step_state: '16' },
  args: { K: 'u32', maxNorm: 'f32', beta1: 'f32', beta2: 'f32', oneMinusBeta1: 'f32', oneMinusBeta2: 'f32' },
  tune: { WG: 64 },
  grid: ({ WG, SG }) => perRow(1, WG!, SG!),
});

/** Partial sums of one gradient into slots [slot, slot + PARTIAL_SLOTS). */
export function gradNorm(p: Program, t: { grad: Tensor; partials: Tensor }, slot: number): void {
  p.run(partial, { grad: t.grad.flat(), partials: t.partials }, { slot });
}

export function stepState(
  p: Program,
  t: { partials: Tensor; stepState: Tensor },
  args: { maxNorm: ArgValue; beta1: ArgValue; beta2: ArgValue; oneMinusBeta1: ArgValue; oneMinusBeta2: ArgValue },
): void {
  p.run(state, { partials: t.partials, step_state: t.stepState }, args);
}
