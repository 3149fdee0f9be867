import { perRow } from '../grid.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import type { AdamWArgs } from './adamw.js';
import { masterKernels, masterOf, roundingArgs } from './master.js';

/** Elements that share a maximum. */
export const BLOCK_8BIT = 256;

export const kernels = masterKernels({
  name: 'adamw_8bit',
  read: { grad: 'E', step_state: '16', maps: '512' },
  update: { m: 'K :u32', v: 'K :u32', m_max: 'B', v_max: 'B' },
  args: {
    E: 'u32', lr: 'f32', beta1: 'f32', beta2: 'f32', oneMinusBeta1: 'f32', oneMinusBeta2: 'f32', epsilon: 'f32', weightDecay: 'f32',
  },
  tune: { WG: 64 },
  grid: ({ E, WG, SG }) => perRow(Math.ceil(E! / BLOCK_8BIT), WG!, SG!),
});

/** Words of codes and blocks of E elements. */
export const words8bit = (E: number): number => Math.ceil(E / 4);
export const blocks8bit = (E: number): number => Math.ceil(E / BLOCK_8BIT);

/** AdamW on moments of 8 bits; all but `value` and `grad` zero at the start. m, v u32 [words], mMax, vMax [blocks], maps [512]. */
export function adamw8bit(
  p: Program,
  t: { value: Tensor; grad: Tensor; m: Tensor; v: Tensor; mMax: Tensor; vMax: Tensor; maps: Tensor; stepState: Tensor },
  args: AdamWArgs,
  tensor = 0,
): void {
  p.run(kernels[masterOf(t.value)], { value: t.value.flat(), grad: t.grad.flat(), m: t.m, v: t.v, m_max: t.mMax, v_max: t.vMax, maps: t.maps, step_state: t.stepState }, { ...args, ...roundingArgs(t.value, tensor) });
}
