import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** The only kernel that moves β: from the counts of ε-steps of the optimiser step, and zeroes them. */
export const kernel = defineKernel({
  name: 'beta_update',
  read: { step_state: '16' },
  update: { beta_state: '4', step_counts: '4 :u32' },
  args: { epsilon: 'f32', beta_min: 'f32', arithmetic: 'u32' },
  grid: () => 1,
});

/** @param o.epsilon the step size ε_s; `rule` harmonic is the official code's, arithmetic the paper's Eq. 6. */
export function betaUpdate(
  p: Program,
  t: { betaState: Tensor; stepCounts: Tensor; stepState: Tensor },
  o: { epsilonSize: number; betaMin: number; betaUpdate: 'harmonic' | 'arithmetic' },
): void {
  p.run(kernel, { beta_state: t.betaState, step_counts: t.stepCounts, step_state: t.stepState }, {
    epsilon: o.epsilonSize, beta_min: o.betaMin, arithmetic: o.betaUpdate === 'arithmetic' ? 1 : 0,
  });
}
