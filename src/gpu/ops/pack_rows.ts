import { perRow, perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import { Tensor, type Extent } from '../tensor.js';
import type { Gpu } from '../device.js';

/** Two numbers to a word: f16 with a power of two per row, or bf16. */
export type HalfFormat = 'float16' | 'bfloat16';

const args = { N: 'u32', I: 'u32', J: 'u32' } as const;
const pack = {
  float16: defineKernel({ name: 'pack_rows.f16', read: { x: 'N I' }, write: { y: 'N J :u32', back: 'N' }, args, tune: { WG: 64 }, grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!) }),
  bfloat16: defineKernel({ name: 'pack_rows.bf16', read: { x: 'N I' }, write: { y: 'N J :u32' }, args, tune: { WG: 64 }, grid: ({ N, J, WG }) => perThread(N! * J!, WG!) }),
};
const unpack = {
  float16: defineKernel({
    name: 'unpack_rows.f16', shader: 'unpack_rows', read: { y: 'N J :u32', back: 'N' }, write: { x: 'N I' }, args, tune: { WG: 64 },
    prelude: 'fn pair(word: u32, n: u32) -> vec2f { return unpack2x16float(word) * back[n]; }', grid: ({ N, J, WG }) => perThread(N! * J!, WG!),
  }),
  bfloat16: defineKernel({
    name: 'unpack_rows.bf16', shader: 'unpack_rows', read: { y: 'N J :u32' }, write: { x: 'N I' }, args, tune: { WG: 64 },
    prelude: 'fn pair(word: u32, n: u32) -> vec2f { return vec2f(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u)); }', grid: ({ N, J, WG }) => perThread(N! * J!, WG!),
  }),
};

/** Rows kept in half the room: y u32 [N, ceil(I/2)], and for f16 back [N]. */
export interface HalfRows {
  format: HalfFormat;
  y: Tensor;
  back: Tensor | undefined;
}

/** Words a row of I numbers takes, f16's power among them. */
export const halfWords = (I: number, format: HalfFormat): number => Math.ceil(I / 2) + (format === 'float16' ? 1 : 0);

export const halfRows = (gpu: Gpu, label: string, N: Extent, I: number, format: HalfFormat): HalfRows =>
  ({ format, y: new Tensor(gpu, label, [N, Math.ceil(I / 2)], 'u32'), back: format === 'float16' ? new Tensor(gpu, `${label} powers`, [N]) : undefined });

const bound = ({ y, back }: HalfRows): Record<string, Tensor> => ({ y, ...(back ? { back } : {}) });

/** x [N, I] → its packed rows: what a row gives depends on that row alone. */
export const packRows = (p: Program, x: Tensor, to: HalfRows): void => p.run(pack[to.format], { x, ...bound(to) });

/** The packed rows → x [N, I], exactly what they hold. */
export const unpackRows = (p: Program, from: HalfRows, x: Tensor): void => p.run(unpack[from.format], { x, ...bound(from) });
