import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** Rotary positions (Su et al. 2021, arXiv 2104.09864), half-split as in transformers' Llama, in place on the first R of every head's C in [N, heads*C]; by four pairs a thread or by one. */
function kernel(vector: boolean, bias: boolean): Kernel {
  const vec = vector ? ':vec4f' : '';
  return defineKernel({
    name: `rope${vector ? '_vec4' : ''}${bias ? '_bias' : ''}`,
    shader: 'rope',
    read: { table: `T R ${vec}`, position: 'N :u32', ...(bias ? { bias: `W ${vec}` } : {}) },
    update: { x: `N W ${vec}` },
    args: { N: 'u32', W: 'u32', C: 'u32', R: 'u32', first: 'u32', sign: 'f32' },
    tune: { WG: vector ? 256 : 64, WIDTH: vector ? 4 : 1 },
    prelude: `alias Vec = ${vector ? 'vec4f' : 'f32'};\nfn biased(v: Vec, i: u32) -> Vec { return v${bias ? ' + bias[i]' : ''}; }`,
    grid: ({ N, W, C, R, WG, WIDTH }) => perThread((N! * (W! / C!) * R!) / 2 / WIDTH!, WG!),
  });
}
const kernels = [false, true].map((vector) => ({ plain: kernel(vector, false), biased: kernel(vector, true) }));

/** Where a head's pairs and a layer's angles are: `C` is the width of a head (the table's, if absent), `first` the table's row of position 0. */
export interface RopeOptions {
  C?: number;
  first?: number;
}

/** cos and sin of position · frequency, made in f64, times `scale`: [positions, R], cos in the first half of a row, sin in the second. R / 2 frequencies. */
export function ropeTable(positions: number, frequencies: ArrayLike<number>, scale = 1): Float32Array {
  const R = frequencies.length * 2;
  const table = new Float32Array(positions * R);
  for (let t = 0; t < positions; t++) {
    for (let c = 0; c < R / 2; c++) {
      const angle = t * frequencies[c]!;
      table[t * R + c] = scale * Math.cos(angle);
      table[t * R + R / 2 + c] = scale * Math.sin(angle);
    }
  }
  return table;
}

const run = (p: Program, t: { x: Tensor; table: Tensor; position: Tensor; bias?: Tensor | undefined }, sign: 1 | -1, o: RopeOptions): void => {
  const { x, table, position, bias } = t;
  const R = table.shape[1] as number;
  const C = o.C ?? R;
  const form = kernels[R % 8 === 0 && byFours(p.gpu, C) ? 1 : 0]!;
  p.run(bias ? form.biased : form.plain, { x, table, position, ...(bias ? { bias } : {}) }, { sign, first: o.first ?? 0, C });
};

/** x [N, heads*C], table [T, R], position [N]; `bias` [heads*C] is added before, where R is C. */
export const rope = (p: Program, t: { x: Tensor; table: Tensor; position: Tensor; bias?: Tensor | undefined }, o: RopeOptions = {}): void => run(p, t, 1, o);
/** The inverse rotation, times the same scale, is the gradient's. */
export const ropeBackward = (p: Program, t: { x: Tensor; table: Tensor; position: Tensor }, o: RopeOptions = {}): void => run(p, t, -1, o);
