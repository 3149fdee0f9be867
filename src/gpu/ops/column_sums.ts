import { EdpoError } from '../../errors.js';
import { perRow, perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import { capacityOf, type Tensor } from '../tensor.js';
import { formOf, FORMS, inForms, type Form } from './vec.js';

/*
 * Gradients that are sums over rows (of gains and biases): blocks of rows first, then over the blocks, each in one order, so the same rows give the same bits.
 */

/** Rows of a block: few, so that many threads share the reading; what is kept of them is an eighth of a tensor [N, D]. */
export const GAIN_ROWS = 8;

/** partial[b, d] = Σ over the b-th block of rows n of term(n, at)·times(n), `at` the place of (n, d); `read` has `N D` for what lies as x does. */
export const columnPartials = (name: string, read: Record<string, string>, term: string, times = '1.0'): Record<Form, Kernel> => inForms((form) => {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `${name}${form}`,
    shader: 'column_sums.bwd_partial',
    read: Object.fromEntries(Object.entries(read).map(([key, axes]) => [key, axes === 'N D' ? `N D ${vec}` : axes])),
    write: { partial: `B D ${vec}` },
    args: { N: 'u32', D: 'u32' },
    tune: { WG: 64, ROWS: GAIN_ROWS, WIDTH },
    prelude: `${prelude}\nfn term(n: u32, at: u32) -> Vec { return ${term}; }\nfn times(n: u32) -> f32 { return ${times}; }`,
    grid: ({ N, D, WG, ROWS }) => perThread(Math.ceil(N! / ROWS!) * (D! / WIDTH), WG!),
  });
});

const LANE_TOTAL = {
  '': 'fn lane_total(v: Vec) -> Vec { return lane_sum(v); }',
  _vec4: 'fn lane_total(v: Vec) -> Vec { return vec4f(lane_sum(v.x), lane_sum(v.y), lane_sum(v.z), lane_sum(v.w)); }',
};

/** sums[d] += Σ_b partial[b, d]. */
const totals = inForms((form) => {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `column_sums.bwd${form}`,
    shader: 'column_sums.bwd',
    read: { partial: `B D ${vec}` },
    update: { sums: `D ${vec}` },
    args: { N: 'u32', D: 'u32' },
    tune: { WG: 64, ROWS: GAIN_ROWS, WIDTH, SIDE: 4 },
    prelude: `${prelude}\n${LANE_TOTAL[form]}`,
    grid: ({ D, WG, SG }) => perRow(D! / WIDTH, WG!, SG!),
  });
});

/** Adds the blocks' sums of `of` rows to `sums` [D]; `partial` [ceil(capacity of N / GAIN_ROWS), D]. */
export function addColumnTotals(p: Program, partial: Tensor, sums: Tensor, of: Tensor): void {
  const [blocks, least] = [capacityOf(partial.shape[0]!), Math.ceil(capacityOf(of.shape[0]!) / GAIN_ROWS)];
  if (blocks < least) throw new EdpoError(`${partial.describe()} has room for ${blocks} sums of ${GAIN_ROWS} rows; ${of.describe()} has ${least}`);
  p.run(totals[formOf(p, partial)], { partial, sums }, { N: of.shape[0]! });
}
