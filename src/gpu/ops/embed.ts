import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** x[n,:] = scale · table[id[n],:], the table split by rows: one dispatch per piece writes the rows whose id it holds. */
export const fwd = defineKernel({
  name: 'embed.fwd',
  read: { ids: 'N :u32', table: 'R D' },
  write: { x: 'N D' },
  args: { N: 'u32', D: 'u32', R: 'u32', first: 'u32', scale: 'f32' },
  tune: { WG: 64 },
  prelude: 'fn before(t: u32) -> f32 { return 0.0; }',
  grid: ({ N, D, WG }) => perThread(N! * D!, WG!),
});

/** x[n,:] += table[id[n],:]: learned positions. */
export const fwdAdd = defineKernel({
  name: 'embed.fwd_add',
  shader: 'embed.fwd',
  read: { ids: 'N :u32', table: 'R D' },
  update: { x: 'N D' },
  args: fwd.args!,
  tune: { WG: 64 },
  prelude: 'fn before(t: u32) -> f32 { return x[t]; }',
  grid: fwd.grid,
});

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
  for (const { first, table } of t.pieces) p.run(fwd, { ids: t.ids, table, x: t.x }, { first, scale });
}

/** Adds rows of one whole table (learned positions): ids [N], table [R, D], x [N, D]. */
export function embedAdd(p: Program, t: { ids: Tensor; table: Tensor; x: Tensor }): void {
  p.run(fwdAdd, t, { first: 0, scale: 1 });
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
