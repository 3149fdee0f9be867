import { keyedUniform } from '../src/model/data/order.js';

/** Tensors of one case by name, row-major. */
export type Named = Record<string, Float32Array>;

/** Work that a system holds ready on its device. */
export interface Job {
  /** Submits the work so many times and waits until the device has done it all. */
  run(repeats: number): Promise<void>;
  /** What the last run made. */
  results(): Promise<Named>;
  destroy(): void;
}

/** edpo or a library, on a device of its own. */
export interface System {
  name: string;
  version: string;
  product(c: ProductCase, inputs: Named): Job;
  block(c: BlockCase, inputs: Named): Job;
  close(): void;
}

/** A product of a linear layer with x [M, I], w [O, I], dy [M, O]: x·wᵀ (nt), dy·w (nn), dyᵀ·x (tn). */
export interface ProductCase { form: 'nt' | 'nn' | 'tn'; M: number; O: number; I: number }

/** A block of B sequences of T tokens, width D, H heads, MLP of F = 4 D; its output alone, or all gradients beside it. */
export interface BlockCase { B: number; T: number; D: number; H: number; F: number; backward: boolean }

export const productInputs = ({ M, O, I }: ProductCase, seed: number): Named => ({ x: uniform(M * I, seed, 1), w: uniform(O * I, seed, 2), dy: uniform(M * O, seed, 3) });

export const productFlops = ({ M, O, I }: ProductCase): number => 2 * M * O * I;

/** Parameters of the block, named and laid out as in GPT-2's checkpoints: weights [in, out], q, k and v fused. */
export const blockShapes = ({ D, F }: Pick<BlockCase, 'D' | 'F'>): Record<string, number[]> => ({
  'ln_1.weight': [D], 'ln_1.bias': [D], 'attn.c_attn.weight': [D, 3 * D], 'attn.c_attn.bias': [3 * D], 'attn.c_proj.weight': [D, D], 'attn.c_proj.bias': [D],
  'ln_2.weight': [D], 'ln_2.bias': [D], 'mlp.c_fc.weight': [D, F], 'mlp.c_fc.bias': [F], 'mlp.c_proj.weight': [F, D], 'mlp.c_proj.bias': [D],
  'ln_f.weight': [D], 'ln_f.bias': [D],
});

export const LAYER_NORM_EPS = 1e-5;

/** x and dy [B·T, D], the gradient of the output, and the block's parameters: gains near 1, weights that keep the size of what they multiply. */
export function blockInputs(c: BlockCase, seed: number): Named {
  const N = c.B * c.T;
  const inputs: Named = { x: uniform(N * c.D, seed, 1, 2), dy: uniform(N * c.D, seed, 2, 2) };
  Object.entries(blockShapes(c)).forEach(([name, shape], i) => {
    const gain = /ln_.*weight/.test(name);
    const width = shape.length === 2 ? 3.4 / Math.sqrt(shape[0]!) : 0.4;
    inputs[name] = uniform(shape.reduce((a, b) => a * b, 1), seed, 3 + i, width).map((v) => (gain ? 1 + v : v));
  });
  return inputs;
}

/** Products with weights, and attention's with the pairs that causality leaves; the backward pass twice as much. What a system computes beyond that is not counted. */
export const blockFlops = ({ B, T, D, F, backward }: BlockCase): number => (2 * B * T * (4 * D * D + 2 * D * F) + 4 * D * B * (T * (T + 1)) / 2) * (backward ? 3 : 1);

const uniform = (n: number, seed: number, stream: number, width = 1): Float32Array => Float32Array.from({ length: n }, (_, i) => (keyedUniform(seed, stream, i) - 0.5) * width);

/** Largest difference allowed: of a tensor's norm, both sides in f32 and each summing in its own order. */
export const TOLERANCE = 1e-4;

/** The tensor that differs most between two systems' results, by |a - b| / |b| (Euclidean norms; b is edpo's). A tensor that one of them lacks, or that holds what is no number, differs by Infinity. */
export function difference(a: Named, b: Named): { tensor: string; difference: number } {
  let most = { tensor: '', difference: 0 };
  for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const [x, y] = [a[name], b[name]];
    let [off, norm] = [0, 0];
    if (x?.length === y?.length) y!.forEach((v, i) => ((off += (x![i]! - v) ** 2), (norm += v ** 2)));
    const found = off === 0 && x?.length === y?.length ? 0 : Math.sqrt(off / norm);
    const worse = Number.isFinite(found) && x?.length === y?.length ? found : Infinity;
    if (worse > most.difference || most.tensor === '') most = { tensor: name, difference: worse };
  }
  return most;
}
