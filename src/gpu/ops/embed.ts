import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import { formatOf } from '../packed.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { formatSuffix, perFormat, weightBindings, weightCode, weightTensors } from './weights.js';

const before = (value: string): string => `fn before(t: u32) -> f32 { return ${value}; }`;

/** x[n,:] = scale · table[id[n],:], the table split by rows: one dispatch per piece writes the rows whose id it holds. */
export const fwd = perFormat((format) => defineKernel({
  name: `embed.fwd${formatSuffix(format)}`,
  shader: 'embed.fwd',
  read: { ids: 'N :u32', ...weightBindings('table', 'R D', format) },
  write: { x: 'N D' },
  args: { N: 'u32', D: 'u32', R: 'u32', first: 'u32', scale: 'f32' },
  tune: { WG: 64 },
  prelude: `${before('0.0')}\n${weightCode('table', format)}`,
  grid: ({ N, D, WG }) => perThread(N! * D!, WG!),
}));

/** x[n,:] += table[id[n],:]: learned positions. */
export const fwdAdd = perFormat((format) => defineKernel({
  name: `embed.fwd_add${formatSuffix(format)}`,
  shader: 'embed.fwd',
  read: { ids: 'N :u32', ...weightBindings('table', 'R D', format) },
  update: { x: 'N D' },
  args: fwd.f32.args!,
  tune: { WG: 64 },
  prelude: `${before('x[t]')}\n${weightCode('table', format)}`,
  grid: fwd.f32.grid,
}));

/** dtable[id,:] += scale · Σ dx over the rows that hold id: sorted lists instead of atomics, so deterministic. */
export const bwd = defineKernel({
  name: 'embed.bwd',
  read: { dx: 'N D', unique_ids: 'U :u32', unique_offsets: '_ :u32', rows: 'N :u32' },
  update: { dtable: 'R D' },
  args: { U: 'u32', D: 'u32', R: 'u32', first: 'u32', scale: 'f32' },
  tune: { WG: 64 },
  grid: ({ U, D, WG }) => perThread(U! * D!, WG!),
});

export function embed(p: Program, t: { ids: Tensor; pieces: Array<{ first: number; table: Tensor }>; x: Tensor }, scale = 1): void {
  for (const { first, table } of t.pieces) p.run(fwd[formatOf(table)], { ids: t.ids, ...weightTensors('table', table), x: t.x }, { first, scale });
}

/** Adds rows of one whole table (learned positions): ids [N], table [R, D], x [N, D]. */
export function embedAdd(p: Program, t: { ids: Tensor; table: Tensor; x: Tensor }): void {
  p.run(fwdAdd[formatOf(t.table)], { ids: t.ids, ...weightTensors('table', t.table), x: t.x }, { first: 0, scale: 1 });
}

/** Adds to every piece's gradient. `uniqueIds` [U] rise; `uniqueOffsets` [U+1] point into `rows` [N]. */
export function embedBackward(
  p: Program,
  t: { dx: Tensor; uniqueIds: Tensor; uniqueOffsets: Tensor; rows: Tensor; pieces: Array<{ first: number; dtable: Tensor }> },
  scale = 1,
): void {
  for (const { first, dtable } of t.pieces) {
    p.run(bwd, { dx: t.dx, unique_ids: t.uniqueIds, unique_offsets: t.uniqueOffsets, rows: t.rows, dtable }, { first, scale });
  }
}
