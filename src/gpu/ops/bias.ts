import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { addColumnTotals, columnPartials } from './column_sums.js';
import { formOf } from './vec.js';

/** y[n,:] += b, in place: the bias of a linear layer. */
export const fwd = defineKernel({
  name: 'bias.fwd',
  read: { b: 'D' },
  update: { y: 'N D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64 },
  grid: ({ N, D, WG }) => perThread(N! * D!, WG!),
});

/** partial[k, d] = Σ over the k-th block of rows of dy. */
const bwdPartial = columnPartials('bias.bwd_partial', { dy: 'N D' }, 'dy[at]');

/** y [N, D], b [D]. */
export function addBias(p: Program, t: { y: Tensor; b: Tensor }): void {
  p.run(fwd, t);
}

/** db [D] += Σ_n dy[n,:]; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D]. */
export function addBiasBackward(p: Program, t: { dy: Tensor; db: Tensor; partial: Tensor }): void {
  const { dy, db, partial } = t;
  p.run(bwdPartial[formOf(p, dy)], { dy, partial });
  addColumnTotals(p, partial, db, dy);
}
