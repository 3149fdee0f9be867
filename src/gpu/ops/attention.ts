import { EdpoError } from '../../errors.js';
import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { attentionMatrix, attentionMatrixBackward, type MatrixAttention } from './attention_matrix.js';
import { matrixAttention } from './attention_matrix_tile.js';
import { attentionTiled, tiledTile } from './attention_tiled.js';
import type { AttentionPass } from './attention_tiles.js';
import { usualForm } from './matmul.js';
import type { AttentionSlots, HeadOperands } from './operand_layout.js';

/** Head counts and options of one layer; `softCap` 0 and `window` 0 are off. */
export interface AttentionOptions {
  H: number;
  G: number;
  C: number;
  scale: number;
  softCap: number;
  /** Sliding window over positions: a query sees keys fewer than `window` positions back. */
  window: number;
  /** Mixed precision: the scales of this layer's operands. */
  slots?: AttentionSlots | undefined;
  /** Where queries, keys and values stand as operands from the forward pass to the backward pass, whose q, k, v may then be others: in matrices alone. */
  kept?: HeadOperands | undefined;
  /** f32 kernels other than the rule's (tests, benchmarks). */
  kernels?: 'plain' | 'tiled' | undefined;
  /** Other tiles than the chosen ones (benchmarks). */
  choice?: MatrixAttention['choice'];
}

/*
 * Causal grouped-query attention over packed prefix-shared rows, online softmax (Milakov & Gimelshein 2018; Dao et al. 2022),
 * one thread per query row and head. Row i sees the prompt [promptStart, promptEnd) and its own branch [branchStart, i];
 * key blocks start at those two places, so a row's bits depend on its own prompt and branch alone.
 */
const args = { N: 'u32', scale: 'f32', softCap: 'f32', window: 'u32' } as const;

function kernels(vector: boolean): { fwd: Kernel; delta: Kernel; dq: Kernel; dkv: Kernel } {
  const v = vector ? ':vec4f' : '';
  const suffix = vector ? '_vec4' : '';
  // E: elements of a head's vector as the shader sees it (vec4 or f32).
  const prelude = vector
    ? 'alias Vec = vec4f;\nconst E = C / 4u;\nfn inner(a: Vec, b: Vec) -> f32 { return dot(a, b); }'
    : 'alias Vec = f32;\nconst E = C;\nfn inner(a: Vec, b: Vec) -> f32 { return a * b; }';
  const q = `N H*C${v}`;
  // M = N in training; in generation the keys are a cache with rows of its own.
  const k = `M G*C${v}`;
  const spans = { span: 'N 4 :vec4<u32>', position: 'N :u32' };
  const common = { args, tune: { WG: 64, H: 1, G: 1, C: 4, NAMED: 0, ARRAYS: 1 }, prelude };
  return {
    fwd: defineKernel({
      name: `attention.fwd${suffix}`, shader: 'attention.fwd', ...common,
      read: { q, k, v: k, ...spans },
      write: { o: q, lse: 'N H' },
      grid: ({ N, H, WG }) => perThread(N! * H!, WG!),
    }),
    delta: defineKernel({
      name: `attention.bwd_delta${suffix}`, shader: 'attention.bwd_delta', ...common,
      read: { o: q, dout: q },
      write: { delta: 'N H' },
      args: { N: 'u32' },
      grid: ({ N, H, WG }) => perThread(N! * H!, WG!),
    }),
    dq: defineKernel({
      name: `attention.bwd_dq${suffix}`, shader: 'attention.bwd_dq', ...common,
      read: { q, k, v: k, ...spans, lse: 'N H', dout: q, delta: 'N H' },
      write: { dq: q },
      grid: ({ N, H, WG }) => perThread(N! * H!, WG!),
    }),
    dkv: defineKernel({
      name: `attention.bwd_dkv${suffix}`, shader: 'attention.bwd_dkv', ...common,
      read: { q, k, v: k, ...spans, lse: 'N H', dout: q, delta: 'N H' },
      write: { dk: k, dv: k },
      grid: ({ N, G, WG }) => perThread(N! * G!, WG!),
    }),
  };
}
const plain = kernels(false);
const vec4 = kernels(true);
const choose = (p: Program, C: number): typeof plain => (byFours(p.gpu, C) ? vec4 : plain);
/** Vectors of up to so many elements (vec4s or numbers) have a variable for each: drivers on a processor leave an array in memory, and take seconds to compile more. */
const MOST_NAMED = 8;
/** The constants of the plain kernels. */
function plainTune(p: Program, { H, G, C }: Pick<AttentionOptions, 'H' | 'G' | 'C'>): Record<string, number> {
  const E = byFours(p.gpu, C) ? C / 4 : C;
  return { H, G, C, NAMED: E <= MOST_NAMED ? E : 0, ARRAYS: E <= MOST_NAMED ? 0 : 1 };
}

/** The options with scales where attention runs in f16 matrices: there are scales, a list of tiles, and heads of a width that fits (`matrixAttention`). */
function inMatrices(p: Program, tiles: Tensor | undefined, o: AttentionOptions): MatrixAttention | undefined {
  if (tiles && o.slots && p.operands && p.gpu.uses('attention_matrix') && matrixAttention(o.C, p.operands.tile)) return { ...o, slots: o.slots };
  if (o.kept) throw new EdpoError(`attention of heads ${o.C} wide does not run in matrices here, but its operands alone are kept (${o.kept.q.describe()})`);
  return undefined;
}

/**
 * The rule for f32, pass by pass: tiled where plain products are (`plainForm`: on a GPU), there is a list of tiles and room for heads of this width; a thread for every row
 * and head elsewhere.
 */
const tiled = (p: Program, pass: AttentionPass, tiles: Tensor | undefined, { C, kernels }: AttentionOptions): boolean =>
  tiles !== undefined && (kernels ? kernels === 'tiled' : usualForm(p.gpu) === 'tiled' && p.gpu.uses('attention_tiled')) && tiledTile(pass, C, p.gpu.limits) !== undefined;

/** q [N, H*C], k and v [M, G*C], span [N, 4] into rows of k, position [N], in training the list `tiles` [T, 8] → o [N, H*C], lse [N, H]. */
export function attention(
  p: Program,
  t: { q: Tensor; k: Tensor; v: Tensor; span: Tensor; position: Tensor; tiles?: Tensor; o: Tensor; lse: Tensor },
  options: AttentionOptions,
): void {
  const { q, k, v, span, position, tiles, o, lse } = t;
  const mixed = inMatrices(p, tiles, options);
  if (mixed) return attentionMatrix(p, { q, k, v, tiles: tiles!, o, lse }, mixed);
  if (tiled(p, 'fwd', tiles, options)) return attentionTiled(p, 'fwd', { q, k, v, tiles: tiles!, o, lse }, options);
  const { H, G, C, scale, softCap, window } = options;
  p.run(choose(p, C).fwd, { q, k, v, span, position, o, lse }, { H, G, C, scale, softCap, window }, { tune: plainTune(p, options) });
}

/** Writes dq, dk, dv from `do`; `delta` [N, H] is scratch. Two passes, no atomics: by query rows, then by key rows. */
export function attentionBackward(
  p: Program,
  t: {
    q: Tensor; k: Tensor; v: Tensor; span: Tensor; position: Tensor; tiles?: Tensor; o: Tensor; lse: Tensor;
    do: Tensor; delta: Tensor; dq: Tensor; dk: Tensor; dv: Tensor;
  },
  attentionOptions: AttentionOptions,
): void {
  const { H, G, C, scale, softCap, window } = attentionOptions;
  const { q, k, v, span, position, o, lse, delta, dq, dk, dv } = t;
  const dout = t.do;
  const options = { tune: plainTune(p, attentionOptions) };
  const given = { H, G, C, scale, softCap, window };
  p.run(choose(p, C).delta, { o, dout, delta }, { H, C }, options);
  const mixed = inMatrices(p, t.tiles, attentionOptions);
  if (mixed) return attentionMatrixBackward(p, { q, k, v, tiles: t.tiles!, lse, do: dout, delta, dq, dk, dv }, mixed);
  if (tiled(p, 'dq', t.tiles, attentionOptions)) attentionTiled(p, 'dq', { q, k, v, tiles: t.tiles!, lse, dout, delta, dq }, attentionOptions);
  else p.run(choose(p, C).dq, { q, k, v, span, position, lse, dout, delta, dq }, given, options);
  if (tiled(p, 'dkv', t.tiles, attentionOptions)) attentionTiled(p, 'dkv', { q, k, v, tiles: t.tiles!, lse, dout, delta, dk, dv }, attentionOptions);
  else p.run(choose(p, C).dkv, { q, k, v, span, position, lse, dout, delta, dk, dv }, given, options);
}
