import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { byFours } from '../paths.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { masterKernels, masterOf, roundingArgs } from './master.js';
import { padding } from './operand_layout.js';
import { copyOf, holdCopy } from './pack_weights.js';

const args = { E: 'u32', lr: 'f32', beta1: 'f32', beta2: 'f32', oneMinusBeta1: 'f32', oneMinusBeta2: 'f32', epsilon: 'f32', weightDecay: 'f32' } as const;

/** AdamW with decoupled decay (Loshchilov & Hutter 2019, arXiv 1711.05101), one tensor per dispatch; a skipped step does nothing. */
export const kernels = masterKernels({
  name: 'adamw',
  read: { grad: 'E', step_state: '16' },
  update: { m: 'E', v: 'E' },
  args,
  tune: { WG: 64 },
  grid: ({ E, WG }) => perThread(E!, WG!),
});

/** f32 values by fours, and those of a matrix whose f16 copy is written in the same pass. */
const vec4 = (copies: boolean): Kernel => defineKernel({
  name: copies ? 'adamw_vec4_f16' : 'adamw_vec4',
  shader: 'adamw_vec4',
  read: { grad: 'E :vec4f', step_state: '16', ...(copies ? { scales: 'K' } : {}) },
  ...(copies ? { write: { packed: '_ :vec2<u32>' } } : {}),
  update: { value: 'E :vec4f', m: 'E :vec4f', v: 'E :vec4f' },
  args: { ...args, ...(copies ? { I: 'u32', W: 'u32', slot: 'u32' } : {}) },
  tune: { WG: 256, PER: 2 },
  snippets: copies ? { 'lib/copy_none': 'lib/copy_f16' } : {},
  grid: ({ E, WG, PER }) => perThread(E! / 4, WG! * PER!),
});
const fours = { alone: vec4(false), withCopy: vec4(true) };

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

/**
 * Updates `value`, `m` and `v` (same shape as `grad`; a packed `value` half as wide) in place; in a mixed program also the f16 copy that products read of `value`.
 * @param tensor number of the tensor, for the rounding of packed values
 */
export function adamw(
  p: Program,
  t: { value: Tensor; grad: Tensor; m: Tensor; v: Tensor; stepState: Tensor },
  args: AdamWArgs,
  tensor = 0,
): void {
  const { value } = t;
  const format = masterOf(value);
  const tensors = { value: value.flat(), grad: t.grad.flat(), m: t.m.flat(), v: t.v.flat(), step_state: t.stepState };
  if (format !== 'f32' || !byFours(p.gpu, value.elements)) return p.run(kernels[format], tensors, { ...args, ...roundingArgs(value, tensor) });
  const copy = copyOf(p, value);
  if (!copy || copy.inner % 4 !== 0 || !p.gpu.uses('adamw_copy')) return p.run(fours.alone, tensors, { ...args });
  const { packed, inner, stride, slots } = copy;
  p.run(fours.withCopy, { ...tensors, scales: p.operands!.scales, packed: packed.flat() }, { ...args, I: inner, W: stride, slot: slots.weight }, { tune: padding(p.operands!.tile) });
  holdCopy(p, value, copy);
}
