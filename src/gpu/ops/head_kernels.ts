import { perRow, perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { WeightFormat } from '../packed.js';
import { KEPT, keptCode } from './kept_tiles.js';
import { packKernel } from './pack_f16.js';
import { weightBindings, weightCode } from './weights.js';

/** Columns of the per-row and per-sequence statistics. */
export const STATS = [
  'logp', 'ref_logp', 'delta_plus', 'delta_minus', 'kl_policy_ref', 'kl_ref_policy', 'entropy', 'lse',
  'bf16_logp', 'bf16_plus', 'bf16_minus', 'unused',
] as const;

/** Columns that are folded at once into a running softmax; part of what decides the last bits of a log-prob, so recorded in a cache's header. */
export const HEAD_TILE = 512;

const rowGrid = ({ S, WG, SG }: Record<string, number>): number => perRow(S!, WG!, SG!);
const tileArgs = { S: 'u32', Y: 'u32', v0: 'u32', count: 'u32' } as const;

export const roundF16 = defineKernel({
  name: 'round_f16',
  read: { x: 'E' },
  write: { y: 'E' },
  args: { E: 'u32' },
  tune: { WG: 64 },
  grid: ({ E, WG }) => perThread(E!, WG!),
});

const labelOffsets = new Map<string, Kernel>();
/** The label's f - r; both tables may be packed. */
export function labelOffset(format: WeightFormat, refFormat: WeightFormat): Kernel {
  const name = `label_offset${format === 'f32' && refFormat === 'f32' ? '' : `_${format}_${refFormat}`}`;
  const known = labelOffsets.get(name);
  if (known) return known;
  const kernel = defineKernel({
    name,
    shader: 'label_offset',
    read: { hidden: 'S D', ref_hidden: 'S D', ...weightBindings('w', 'R D', format), ...weightBindings('ref_w', 'R D', refFormat), labels: 'S :u32' },
    update: { offset: 'S' },
    args: { S: 'u32', D: 'u32', R: 'u32', first: 'u32', soft_cap: 'f32', scale: 'f32' },
    tune: { WG: 64 },
    prelude: `${weightCode('w', format)}\n${weightCode('ref_w', refFormat, 1, 'ref_weight')}`,
    grid: rowGrid,
  });
  labelOffsets.set(name, kernel);
  return kernel;
}

/** Folds of rows of whole vec4s: Y is a multiple of four. AHEAD vec4s of each lane are loaded at once: with one load of four bytes a lane an H100 reached 0.9 of 3.1 TB/s. */
const folds = (AHEAD: number): Record<string, number> => ({ WG: 64, FOLD: HEAD_TILE, AHEAD });
const KEEPING = { write: { kept: KEPT }, args: { KW: 'u32', fours: 'u32' }, snippets: { 'lib/keep_none': 'lib/keep_f16' } } as const;

const stats = (keeps: boolean): Kernel => defineKernel({
  name: `head_stats.fwd${keeps ? '_kept' : ''}`,
  shader: 'head_stats.fwd',
  ...(keeps ? KEEPING : {}),
  read: { tile: 'S Y :vec4f', labels: 'S :u32' },
  update: { state: 'S 4' },
  args: { ...tileArgs, ...(keeps ? KEEPING.args : {}) },
  tune: folds(4),
  grid: rowGrid,
});
/** headStatsKept also keeps the tile (kept_tiles.ts); the state has the same bits. */
export const [headStats, headStatsKept] = [stats(false), stats(true)];

const criterion = (keeps: boolean): Kernel => defineKernel({
  name: `head_criterion.fwd${keeps ? '_kept' : ''}`,
  shader: 'head_criterion.fwd',
  ...(keeps ? KEEPING : {}),
  read: { tile: 'S Y :vec4f', ref_tile: 'S Y :vec4f', offset: 'S' },
  update: { criterion: 'S 8' },
  args: { ...tileArgs, epsilon: 'f32', ...(keeps ? KEEPING.args : {}) },
  tune: folds(2),
  grid: rowGrid,
});
/** headCriterionKept also keeps the reference's tile. */
export const [headCriterion, headCriterionKept] = [criterion(false), criterion(true)];

export const headBf16 = defineKernel({
  name: 'head_bf16.fwd',
  read: { tile: 'S Y', ref_tile: 'S Y', labels: 'S :u32' },
  update: { mixed: 'S 9' },
  args: { ...tileArgs, epsilon: 'f32' },
  tune: { WG: 64, FOLD: HEAD_TILE },
  grid: rowGrid,
});

const token = (mode: string, read: Record<string, string>, after: string) =>
  defineKernel({
    name: `token_stats.fwd_${mode}`,
    shader: 'token_stats.fwd',
    read: { state: 'S 4', ...read },
    write: { stats: 'S 12' },
    args: mode === 'none' || mode === 'logps' ? { S: 'u32' } : { S: 'u32', epsilon: 'f32' },
    tune: { WG: 64 },
    prelude: `fn after(t: u32, at: u32, logp: f32) {\n${after}}`,
    grid: ({ S, WG }) => perThread(S!, WG!),
  });

const HIDDEN = `  let r = ref_logps[t];
  stats[at + 1u] = r;
  let d = logp - r;
  let zf = criterion[t * 8u + 1u];
  let zr = criterion[t * 8u + 3u];
  let apart = ((criterion[t * 8u] + log(zf)) - (criterion[t * 8u + 2u] + log(zr))) - offset[t];
  let e = args.epsilon;
  stats[at + 2u] = e * d - (log1p(criterion[t * 8u + 4u] / zf) - e * apart);
  stats[at + 3u] = -e * d - (log1p(criterion[t * 8u + 5u] / zf) + e * apart);
  stats[at + 4u] = criterion[t * 8u + 6u] / zf - apart;
  stats[at + 5u] = criterion[t * 8u + 7u] / zr + apart;
`;
const BF16 = `  for (var k = 0u; k < 3u; k++) {
    let c = t * 9u + k * 3u;
    stats[at + 8u + k] = round_to_bf16((mixed[c + 2u] - mixed[c]) - log(mixed[c + 1u]));
  }
`;

/** By what the head computed: nothing of the reference, its label log-probs, its hidden states, the bf16 criterion too. */
export const tokenStats = {
  none: token('none', {}, ''),
  logps: token('logps', { ref_logps: 'S' }, '  stats[at + 1u] = ref_logps[t];\n'),
  hidden: token('hidden', { ref_logps: 'S', criterion: 'S 8', offset: 'S' }, HIDDEN),
  bf16: token('bf16', { ref_logps: 'S', criterion: 'S 8', offset: 'S', mixed: 'S 9' }, HIDDEN + BF16),
};

const tokenWeightCode = (weighted: boolean): string => ['c', 'k'].map((x, i) => `fn weight_${x}(s: u32) -> f32 { return ${weighted ? `token_weights[s * 2u + ${i}u]` : '1.0'}; }`).join('\n');

/** What a gradient's kernel is made for: weights of tokens; logits that stand kept, of the policy and of the reference. */
export interface GradientForm { weighted: boolean; kept?: boolean; refKept?: boolean }

/** Where the logits come from: `logit(s, v)` of the tile or of what was kept of it. */
const logitCode = (fn: string, tile: string, kept: boolean): string =>
  kept ? `${keptCode(fn)}\nfn ${fn}(s: u32, v: u32) -> f32 { return ${fn}4(s, v)[v % 4u]; }` : `fn ${fn}(s: u32, v: u32) -> f32 { return ${tile}[s * args.Y + v]; }`;
const nameOf = (name: string, { weighted, kept, refKept }: GradientForm): string => `${name}${weighted ? '_weighted' : ''}${kept ? '_kept' : ''}${refKept ? '_refkept' : ''}`;
const scored = ({ weighted }: GradientForm): Record<string, string> => ({ state: 'S 4', labels: 'S :u32', seq_of: 'S :u32', coef: 'Q 2', ...(weighted ? { token_weights: 'S 2' } : {}) });

const gradient = (name: string, form: GradientForm, kl: boolean): Kernel => defineKernel({
  name: nameOf(name, form),
  shader: name,
  read: { ...scored(form), ...(form.kept ? { logit_kept: KEPT } : {}), ...(kl ? { criterion: 'S 8', ...(form.refKept ? { ref_logit_kept: KEPT } : { ref_tile: 'S Y' }) } : {}) },
  // Of what is kept the tile is made anew, whatever it was.
  ...(form.kept ? { write: { tile: 'S Y' } } : { update: { tile: 'S Y' } }),
  args: { ...tileArgs, soft_cap: 'f32', ...(form.kept || form.refKept ? KEEPING.args : {}) },
  tune: { WG: 64, ...(form.kept || form.refKept ? { FOLD: HEAD_TILE } : {}) },
  prelude: [tokenWeightCode(form.weighted), logitCode('logit', 'tile', form.kept === true), ...(kl ? [logitCode('ref_logit', 'ref_tile', form.refKept === true)] : [])].join('\n'),
  grid: ({ S, count, WG }) => perThread(S! * count!, WG!),
});

/** f → df in the tile. */
export const headGrad = (form: GradientForm): Kernel => gradient('head_grad.bwd', form, false);
/** With the gradient of KL(ref‖policy) per token (TDPO and its kin). */
export const headGradKl = (form: GradientForm): Kernel => gradient('head_grad_kl.bwd', form, true);

/** The same as headGrad as an f16 operand; `noted`: with flags of what is in it (filled.ts). */
export const headGradF16 = (form: GradientForm, noted = false): Kernel => packKernel(
  `${nameOf('head_grad.bwd_f16', form)}${noted ? '_noted' : ''}`, { ...scored(form), ...(form.kept ? { logit_kept: KEPT } : { tile: '_ Y :vec4f' }) },
  {
    shader: 'head_grad.bwd_f16', watched: true, noted, args: { v0: 'u32', soft_cap: 'f32', ...(form.kept ? KEEPING.args : {}) }, ...(form.kept ? { tune: { FOLD: HEAD_TILE } } : {}),
    prelude: `${tokenWeightCode(form.weighted)}\n${form.kept ? keptCode('logit') : 'fn logit4(s: u32, v: u32) -> vec4f { return tile[(s * args.Y + v) / 4u]; }'}`,
  },
);

/** Σ e^(2(f-m)) of each row: what Σ π² is made of. */
export const headSquare = defineKernel({
  name: 'head_square.fwd',
  read: { tile: 'S Y :vec4f' },
  update: { square: 'S 2' },
  args: tileArgs,
  tune: folds(4),
  grid: rowGrid,
});

/** Columns of a scored row's terms; sums of them go to `document_loss`. */
export const TERMS = ['weighted_logp', 'weighted_ref_logp', 'weighted_kl', 'weight', 'kl_weight', 'sharpness', 'ref_entropy', 'unused'] as const;

interface TermsOf { weights: boolean; square: boolean; refEntropy: boolean }

/** The terms of each scored row, by what there is of weights, Σ π² and the reference's softmax. */
export const tokenTerms = ({ weights, square, refEntropy }: TermsOf) =>
  defineKernel({
    name: `token_terms.fwd${weights ? '_weights' : ''}${square ? '_square' : ''}${refEntropy ? '_entropy' : ''}`,
    shader: 'token_terms.fwd',
    read: { stats: 'S 12', ...(weights ? { token_weights: 'S 2' } : {}), ...(square ? { state: 'S 4', square: 'S 2' } : {}), ...(refEntropy ? { ref_state: 'S 4' } : {}) },
    write: { terms: 'S 8' },
    args: { S: 'u32' },
    tune: { WG: 64 },
    prelude: `fn weights_of(t: u32) -> vec2f { return ${weights ? 'vec2f(token_weights[t * 2u], token_weights[t * 2u + 1u])' : 'vec2f(1.0)'}; }
fn log_squares(t: u32) -> f32 { return ${square ? '2.0 * (square[t * 2u] - state[t * 4u]) + (log(square[t * 2u + 1u]) - 2.0 * log(state[t * 4u + 1u]))' : 'stats[t * 12u]'}; }
fn ref_entropy(t: u32) -> f32 { return ${refEntropy ? 'log(ref_state[t * 4u + 1u]) - ref_state[t * 4u + 2u] / ref_state[t * 4u + 1u]' : '0.0'}; }`,
    grid: ({ S, WG }) => perThread(S!, WG!),
  });
