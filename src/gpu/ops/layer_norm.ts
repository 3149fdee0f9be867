import { perRow } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { addBiasBackward } from './bias.js';
import { addColumnTotals, columnPartials } from './column_sums.js';
import { padding } from './operand_layout.js';
import { operandRoom, SEEN, UNWATCHED } from './pack_f16.js';
import { formOf, FORMS, inForms, sideBySide, type Form } from './vec.js';

const ALONE = 'fn before(d: u32) -> Vec { return Vec(); }';
const FORGETS = 'fn keep(row: u32, m: f32, r: f32) { }';
const KEEPS = 'fn keep(row: u32, m: f32, r: f32) { mean[row] = m; rstd[row] = r; }';

/**
 * y = (x − mean)·rstd·gain + bias, rstd = 1/sqrt(variance + eps), over the last axis (Ba et al. 2016, arXiv 1607.06450). `_bias`: of x + b, the bias of the linear
 * layer that made x; `_keep`: keeping what the backward pass reads.
 */
function fwd(form: Form, kind: '' | '_bias' | '_keep'): Kernel {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `layer_norm.fwd${kind}${form}`,
    shader: 'layer_norm.fwd',
    read: { x: `N D ${vec}`, gain: `D ${vec}`, bias: `D ${vec}`, ...(kind === '_bias' ? { b: `D ${vec}` } : {}) },
    write: { y: `N D ${vec}`, ...(kind === '_keep' ? { mean: 'N', rstd: 'N' } : {}) },
    args: { N: 'u32', D: 'u32', eps: 'f32' },
    tune: { WG: 64, WIDTH, SIDE: 1 },
    prelude: `${prelude}\n${kind === '_bias' ? 'fn before(d: u32) -> Vec { return b[d]; }' : ALONE}\n${kind === '_keep' ? KEEPS : FORGETS}`,
    grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
  });
}
const kernels = { '': inForms((f) => fwd(f, '')), _bias: inForms((f) => fwd(f, '_bias')), _keep: inForms((f) => fwd(f, '_keep')) };

/** y as an f16 operand. */
const fwdF16 = defineKernel({
  name: 'layer_norm.fwd_f16',
  read: { x: 'M D :vec4f', gain: 'D :vec4f', bias: 'D :vec4f', scales: 'K' },
  write: { mean: 'M', rstd: 'M', packed: '_ :vec4<u32>' },
  args: { M: 'u32', D: 'u32', W: 'u32', slot: 'u32', eps: 'f32' },
  tune: { WG: 64, WIDTH: 4, TILE: 128, BLOCK: 16, SIDE: 1, MEASURE: 0 },
  prelude: `${FORMS._vec4.prelude}\n${ALONE}\n${KEEPS}\n${UNWATCHED}\n${SEEN}`,
  grid: ({ M, TILE, WG, SG }) => perRow(Math.ceil(M! / TILE!) * TILE!, WG!, SG!),
});

/** dx += rstd·(g − mean(g) − z·mean(g·z)), g = gain·dy, z = (x − mean)·rstd. */
const bwd = inForms((form) => {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `layer_norm.bwd${form}`,
    shader: 'layer_norm.bwd',
    read: { x: `N D ${vec}`, gain: `D ${vec}`, mean: 'N', rstd: 'N', dy: `N D ${vec}` },
    update: { dx: `N D ${vec}` },
    args: { N: 'u32', D: 'u32' },
    tune: { WG: 64, WIDTH, SIDE: 1 },
    prelude,
    grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
  });
});

/** partial[b, d] = Σ over the b-th block of rows of dy·(x − mean)·rstd. */
const gainPartial = columnPartials('layer_norm.bwd_gain_partial', { x: 'N D', mean: 'N', rstd: 'N', dy: 'N D' }, 'dy[at] * (x[at] - mean[n])', 'rstd[n]');

const side = (p: Program, x: Tensor): number => sideBySide(p, (x.shape[1] as number) / FORMS[formOf(p, x)].WIDTH);

/** x, y [N, D]; gain, bias and `b` [D]. `keep`, mean and rstd [N], is written for the backward pass; not together with `b`. */
export function layerNorm(p: Program, t: { x: Tensor; b?: Tensor; gain: Tensor; bias: Tensor; y: Tensor }, eps: number, keep?: { mean: Tensor; rstd: Tensor }): void {
  const kind = keep ? '_keep' : t.b ? '_bias' : '';
  p.run(kernels[kind][formOf(p, t.x)], { ...t, ...keep } as Record<string, Tensor>, { eps }, { tune: { SIDE: side(p, t.x) } });
}

/** `layerNorm` where nothing but matrix products of `slot` read y: only its packed operand is made. D is a multiple of 4. */
export function layerNormOperand(p: Program, t: { x: Tensor; gain: Tensor; bias: Tensor; y: Tensor; mean: Tensor; rstd: Tensor }, slot: number, eps: number): void {
  const { tile, scales } = p.operands!;
  const { y, ...rest } = t;
  const { key, packed, stride } = operandRoom(p, y, slot, y.shape[1] as number, {});
  p.run(fwdF16, { ...rest, scales, packed }, { W: stride, slot, eps }, { tune: { ...padding(tile), SIDE: sideBySide(p, stride) } });
  p.holdOperand(y, key, packed, true);
}

/** Adds to `dx` and, unless they are frozen, to `dgain` and `dbias`; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D]. */
export function layerNormBackward(
  p: Program,
  t: { x: Tensor; gain: Tensor; mean: Tensor; rstd: Tensor; dy: Tensor; dx: Tensor; dgain: Tensor | undefined; dbias: Tensor | undefined; partial: Tensor },
): void {
  const { x, gain, mean, rstd, dy, dx, dgain, dbias, partial } = t;
  p.run(bwd[formOf(p, x)], { x, gain, mean, rstd, dy, dx }, {}, { tune: { SIDE: side(p, x) } });
  if (dgain) {
    p.run(gainPartial[formOf(p, x)], { x, mean, rstd, dy, partial });
    addColumnTotals(p, partial, dgain, x);
  }
  if (dbias) addBiasBackward(p, { dy, db: dbias, partial });
}
