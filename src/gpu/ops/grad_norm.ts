import { perRow } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** Elements that one subgroup sums: a multiple of 4, fixed, so that a sum does not depend on anything but its terms and the adapter's subgroups. */
export const PARTIAL_BLOCK = 4096;

/** Partial sums a tensor of so many elements leaves: one for each block of PARTIAL_BLOCK. */
export const partialSlots = (elements: number): number => Math.ceil(elements / PARTIAL_BLOCK);

export const partial = defineKernel({
  name: 'grad_norm.partial',
  read: { grad: 'E :vec4f' },
  update: { partials: 'K' },
  args: { E: 'u32', slot: 'u32' },
  tune: { WG: 64, BLOCK: PARTIAL_BLOCK },
  grid: ({ E, WG, SG }) => perRow(partialSlots(E!), WG!, SG!),
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

/** Partial sums that `gradNorm` leaves of these gradients. */
export const gradNormSlots = (grads: Tensor[]): number => grads.reduce((n, g) => n + partialSlots(g.elements), 0);

/** Partial sums of the squares of all gradients into `partials` [gradNormSlots]. */
export function gradNorm(p: Program, t: { grads: Tensor[]; partials: Tensor }): void {
  let slot = 0;
  for (const grad of t.grads) {
    p.run(partial, { grad: grad.flat(), partials: t.partials }, { slot });
    slot += partialSlots(grad.elements);
  }
}

export function stepState(
  p: Program,
  t: { partials: Tensor; stepState: Tensor },
  args: { maxNorm: ArgValue; beta1: ArgValue; beta2: ArgValue; oneMinusBeta1: ArgValue; oneMinusBeta2: ArgValue },
): void {
  p.run(state, { partials: t.partials, step_state: t.stepState }, args);
}
