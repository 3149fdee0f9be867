import { defineKernel, type Kernel } from '../src/gpu/kernel.js';
import type { MatrixConfig } from '../src/gpu/matrices.js';

const FILL: Record<string, string> = { f16: 'f16', f32: 'f32', i8: 'i32', u8: 'u32', i32: 'i32', u32: 'u32' };
/** Numbers a binding of results takes: 8-bit results are stored four to a word. */
const STORED: Record<string, string> = { i8: 'i32', u8: 'u32' };

/** Multiply-accumulates of one matrix configuration in registers. */
export const macMatrix = (c: MatrixConfig): Kernel =>
  defineKernel({
    name: `mac_matrix.${c.component}_${c.result}_${c.M}x${c.N}x${c.K}`,
    shader: 'bench/mac_matrix',
    matrices: true,
    write: { out: `_ :${STORED[c.result] ?? c.result}` },
    args: { loops: 'u32', seed: 'f32', groups: 'u32' },
    words: { COMPONENT: c.component, RESULT: c.result, FILL: FILL[c.component] ?? 'f32' },
    grid: ({ groups }) => groups!,
  });

export const macF32 = defineKernel({
  name: 'mac_f32', shader: 'bench/mac_f32', write: { out: '_' }, args: { loops: 'u32', seed: 'f32', groups: 'u32' }, tune: { WG: 64, ACCS: 8 }, grid: ({ groups }) => groups!,
});

export const readAll = defineKernel({
  name: 'read_all', shader: 'bench/read_all', read: { x: 'E :vec4f' }, update: { out: '_' }, args: { E: 'u32', never: 'f32' }, tune: { WG: 256, PER: 16 },
  grid: ({ E, WG, PER }) => Math.ceil(E! / (WG! * PER!)),
});

export const touch = defineKernel({ name: 'touch', shader: 'bench/touch', read: { x: '_' }, update: { out: '_' }, args: { store: 'u32' }, grid: () => 1 });
/** Reads alone: no barrier between two of them. */
export const touchNothing = defineKernel({ name: 'touch_nothing', shader: 'bench/touch', read: { x: '_' }, args: { store: 'u32' }, grid: () => 1, prelude: 'var<private> out: array<f32, 1>;' });
