import { perRow } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import { Tensor } from '../tensor.js';
import type { AdamWArgs } from './adamw.js';
import { masterKernels, masterOf, roundingArgs } from './master.js';

/** Elements that share a maximum. */
export const BLOCK_8BIT = 256;

const args = {
  lr: 'f32', beta1: 'f32', beta2: 'f32', oneMinusBeta1: 'f32', oneMinusBeta2: 'f32', epsilon: 'f32', weightDecay: 'f32',
} as const;

export const kernels = masterKernels({
  name: 'adamw_8bit',
  read: { grad: 'E', step_state: '16', maps: '512' },
  update: { m: 'K :u32', v: 'K :u32', m_max: 'B', v_max: 'B' },
  args: { E: 'u32', ...args },
  tune: { WG: 64 },
  grid: ({ E, WG, SG }) => perRow(Math.ceil(E! / BLOCK_8BIT), WG!, SG!),
});

/** The same of tensors that lie behind one another, from a table of their blocks. */
const together = defineKernel({
  name: 'adamw_8bit_arena',
  shader: 'adamw_8bit',
  read: { grad: 'E', step_state: '16', maps: '512', table: 'B 4 :vec4<u32>' },
  update: { value: 'E', m: 'K :u32', v: 'K :u32', m_max: 'C', v_max: 'C' },
  args: { B: 'u32', ...args },
  tune: { WG: 64 },
  snippets: { 'lib/blocks_8bit': 'lib/blocks_8bit_table' },
  grid: ({ B, WG, SG }) => perRow(B!, WG!, SG!),
});

/** Words of codes and blocks of E elements. */
export const words8bit = (E: number): number => Math.ceil(E / 4);
export const blocks8bit = (E: number): number => Math.ceil(E / BLOCK_8BIT);
/** Bytes of E elements' lines in the table of `adamw8bitTogether`. */
export const tableBytes8bit = (E: number): number => 16 * blocks8bit(E);

/** What is kept of a tensor: codes m, v u32 [words], maxima mMax, vMax [blocks]; zero at the start. */
export interface Kept8bit { m: Tensor; v: Tensor; mMax: Tensor; vMax: Tensor }

/** AdamW on moments of 8 bits. maps [512]. */
export function adamw8bit(
  p: Program,
  t: Kept8bit & { value: Tensor; grad: Tensor; maps: Tensor; stepState: Tensor },
  args: AdamWArgs,
  tensor = 0,
): void {
  p.run(kernels[masterOf(t.value)], { value: t.value.flat(), grad: t.grad.flat(), m: t.m, v: t.v, m_max: t.mMax, v_max: t.vMax, maps: t.maps, step_state: t.stepState }, { ...args, ...roundingArgs(t.value, tensor) });
}

/** `adamw8bit` of f32 tensors whose values, gradients and moments lie each in one of `t`, in one pass: no block has elements of two, so the bits are those of each by itself. */
export function adamw8bitTogether(p: Program, t: Kept8bit & { value: Tensor; grad: Tensor; maps: Tensor; stepState: Tensor }, members: Array<Kept8bit & { value: Tensor }>, args: AdamWArgs): void {
  const from = (whole: Tensor, part: Tensor): number => (part.place.offset - whole.place.offset) / 4;
  const lines = members.flatMap(({ value, m, mMax }) => Array.from({ length: blocks8bit(value.elements) }, (_, b) => [
    from(t.value, value) + b * BLOCK_8BIT, Math.min(BLOCK_8BIT, value.elements - b * BLOCK_8BIT), from(t.m, m) + (b * BLOCK_8BIT) / 4, from(t.mMax, mMax) + b,
  ]));
  const table = new Tensor(p.gpu, `${t.value.label} blocks`, [lines.length, 4], 'u32');
  table.write(Uint32Array.from(lines.flat()));
  p.run(together, { value: t.value.flat(), grad: t.grad.flat(), m: t.m.flat(), v: t.v.flat(), m_max: t.mMax.flat(), v_max: t.vMax.flat(), maps: t.maps, table, step_state: t.stepState }, { ...args });
}
