import { perThread } from '../grid.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { masterKernels, masterOf, roundingArgs } from './master.js';

/** AdamW with decoupled decay (Loshchilov & Hutter 2019, arXiv 1711.05101), one tensor per dispatch; a skipped step does nothing. */
export const kernels = masterKernels({
  name: 'adamw',
  read: { grad: 'E', step_state: '16' },
  update: { m: 'E', v: 'E' },
  args: {
    E: 'u32', lr: 'f32', beta1: 'f32', beta2: 'f32', oneMinusBeta1: 'f32', oneMinusBeta2: 'f32', epsilon: 'f32', weightDecay: 'f32',
  },
  tune: { WG: 64 },
  grid: ({ E, WG }) => perThread(E!, WG!),
});

/** 1 − β is passed beside β, each rounded by itself: 1 − fround(0.999) would be off by 3e-5 of its value. */
export interface AdamWArgs {
  lr: ArgValue;
  beta1: ArgValue;
  beta2: ArgValue;
  oneMinusBeta1: ArgValue;
  oneMinusBeta2: ArgValue;
  epsilon: ArgValue;
  weightDecay: ArgValue;
}

/** Updates `value`, `m` and `v` (same shape as `grad`; a packed `value` half as wide) in place. @param tensor number of the tensor, for the rounding of packed values */
export function adamw(
  p: Program,
  t: { value: Tensor; grad: Tensor; m: Tensor; v: Tensor; stepState: Tensor },
  args: AdamWArgs,
  tensor = 0,
): void {
  p.run(kernels[masterOf(t.value)], { value: t.value.flat(), grad: t.grad.flat(), m: t.m.flat(), v: t.v.flat(), step_state: t.stepState }, { ...args, ...roundingArgs(t.value, tensor) });
}
