import { perRow, perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';

/*
 * The kernels of a learned mask of tokens (SparsePO; losses.md 2.6, "simple_all"): per layer a score of the normed state, mixed over the layers. Recorded by
 * `src/model/learned_mask.ts`; twin: test/reference/learned_mask.ts.
 */

const rows = ({ S, WG, SG }: Record<string, number>): number => perRow(S!, WG!, SG!);
const threads = ({ S, WG }: Record<string, number>): number => perThread(S!, WG!);
const DROPOUT = { matrix: 'u32', step_key: 'u32', p: 'f32' } as const;

export const maskStates = defineKernel({ name: 'mask_states.fwd', read: { x: 'N D', src: 'S :u32' }, write: { y: 'S D' }, args: { S: 'u32', D: 'u32' }, tune: { WG: 64 }, grid: rows });

export const maskScore = defineKernel({
  name: 'mask_score.fwd',
  read: { x: 'S D', gain: 'D', shift: 'D', weight: 'L D', bias: 'L', keys: 'S :u32' },
  update: { h: 'S L' },
  args: { S: 'u32', D: 'u32', L: 'u32', layer: 'u32', ...DROPOUT },
  tune: { WG: 64 },
  grid: rows,
});

export const maskMix = defineKernel({
  name: 'mask_mix.fwd',
  read: { h: 'S L', mix: '1 L', keys: 'S :u32' },
  update: { mask: 'S 2' },
  args: { S: 'u32', L: 'u32', part: 'u32', ...DROPOUT },
  tune: { WG: 64 },
  grid: threads,
});

export const maskMixBackward = defineKernel({
  name: 'mask_mix.bwd',
  read: { h: 'S L', mix: '1 L', mask: 'S 2', coef: 'Q 2', seq_of: 'S :u32', stats: 'S 12' },
  write: { dh: 'S L', dsum: 'S' },
  args: { S: 'u32', L: 'u32', part: 'u32', p: 'f32', l1: 'f32', l1_kl: 'f32', inv_count: 'f32' },
  tune: { WG: 64 },
  grid: threads,
});

export const maskScoreBackward = defineKernel({
  name: 'mask_score.bwd',
  read: { x: 'S D', dh: 'S L', gain: 'D', shift: 'D', weight: 'L D' },
  update: { dweight: 'L D', dgain: 'D', dshift: 'D' },
  args: { S: 'u32', D: 'u32', L: 'u32', layer: 'u32' },
  tune: { WG: 64 },
  grid: ({ D, WG }) => perThread(D!, WG!),
});

export const maskColumnsBackward = defineKernel({
  name: 'mask_columns.bwd',
  read: { h: 'S L', dh: 'S L', dsum: 'S' },
  update: { dbias: 'L', dmix: '1 L' },
  args: { S: 'u32', L: 'u32' },
  tune: { WG: 64 },
  grid: ({ L, WG }) => perThread(L!, WG!),
});
