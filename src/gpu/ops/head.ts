import type { Gpu } from '../device.js';
import { formatOf } from '../packed.js';
import type { Program } from '../program.js';
import { capacityOf, Tensor, type Extent } from '../tensor.js';
import { HEAD_TILE, headBf16, headCriterion, headCriterionKept, headGrad, headGradF16, headGradKl, headSquare, headStats, headStatsKept, labelOffset, roundF16, STATS, TERMS, tokenStats, tokenTerms, type GradientForm } from './head_kernels.js';
import { filledRoom, type Filled } from './filled.js';
import { keptArgs, keptTile, type HeadTiles } from './kept_tiles.js';
import { matmulNN, matmulNT, matmulTN } from './matmul.js';
import { mix } from './mix.js';
import { writeOperand } from './pack_f16.js';
import { softCap } from './soft_cap.js';
import { weightTensors } from './weights.js';

/** What of the reference the head works with: nothing, its label log-probs, or its hidden states too. */
export type HeadMode = 'none' | 'logps' | 'hidden';

export { HEAD_TILE };

/** What one tile of f32 logits takes on a hardware adapter: enough work for a dispatch, and two of them near the size of its cache. */
const TILE_BYTES = 2 ** 26;

/**
 * Columns of logits that exist at a time for so many scored rows, a multiple of HEAD_TILE. No log-prob depends on it, not in its last bit: sums are folded by
 * HEAD_TILE columns whatever the width. Software adapters keep to one HEAD_TILE, which stays in a processor's cache.
 */
export const headWidth = (rows: number, hardware: boolean): number => (hardware ? Math.max(1, Math.floor(TILE_BYTES / (4 * rows * HEAD_TILE))) * HEAD_TILE : HEAD_TILE);

const wholeFours = (n: number): number => 4 * Math.ceil(n / 4);

export interface HeadOptions {
  gpu: Gpu;
  /** Scored rows. */
  S: Extent;
  D: number;
  V: number;
  mode: HeadMode;
  /** The vocabulary table [V, D], split by rows. */
  pieces: Tensor[];
  /** Its gradients; absent where it is not trained. */
  dPieces?: Tensor[];
  /** The reference's table. */
  refPieces?: Tensor[];
  /** The reference's states were stored in f16: the criterion rounds the policy's states alike. */
  rounded: boolean;
  /** Also the official code's bf16 criterion. */
  bf16: boolean;
  /** The loss has a gradient through KL(ref‖policy). */
  klGradient?: boolean;
  /** Fill `terms` too, with weights per token if `weighted`, Σ π² (`square`), the reference's entropy (`refEntropy`, mode `hidden`). */
  terms?: { weighted: boolean; square: boolean; refEntropy: boolean } | undefined;
  /** Tiles that are kept for the backward pass (kept_tiles.ts); none where absent. */
  tiles?: HeadTiles | undefined;
  /** Columns folded at once (HEAD_TILE), a multiple of four, and of logits that exist at a time, a multiple of those (`headWidth`, or `tile` where that is given). */
  tile?: number;
  width?: number;
  epsilon?: number;
  /** Logits are softCap·tanh(z/softCap) (Gemma 2); 0: as they are. */
  softCap?: number;
  /** Decoding-time realignment (mode `hidden`, forward only): the policy's logits are λ f + (1 - λ) r at every position (ε-DPO paper, Proposition 1). */
  realign?: number | undefined;
}

/** A tile: `count` columns of the vocabulary from v0 on, rows `first` on of a piece; and what is kept of the policy's logits and of the reference's. */
interface Range { piece: number; first: number; v0: number; count: number; kept?: Tensor; refKept?: Tensor }

/**
 * The output head, streamed over tiles of the vocabulary: logits exist for one tile [S, width] at a time, whatever V is.
 * Forward folds tiles into running softmax statistics; backward makes each tile again, or takes what the forward pass kept of it, and turns it into its gradient.
 */
export class Head {
  /** [S, 12], columns STATS. */
  readonly stats: Tensor;
  /** [S, 8], columns TERMS. */
  readonly terms: Tensor | undefined;
  private readonly square: Tensor | undefined;
  private readonly refState: Tensor | undefined;
  private readonly tile: Tensor;
  private readonly state: Tensor;
  private readonly ranges: Range[];
  private readonly refTile: Tensor | undefined;
  private readonly criterion: Tensor | undefined;
  private readonly offset: Tensor | undefined;
  private readonly mixed: Tensor | undefined;
  private readonly roundedHidden: Tensor | undefined;
  private readonly roundedTile: Tensor | undefined;
  readonly tensors: Tensor[] = [];
  /** Columns of a tile. */
  readonly width: number;
  private readonly fold: { tune: { FOLD: number } };
  /** Which blocks of the gradient's operands hold anything but zeros. */
  private filled: { all: Tensor; each: Filled[] } | undefined;

  constructor(readonly options: HeadOptions) {
    const { gpu, S, D, V, pieces, mode } = options;
    const fold = wholeFours(options.tile ?? HEAD_TILE);
    const width = Math.min(options.width ?? options.tile ?? headWidth(capacityOf(S), gpu.kind === 'hardware' && gpu.uses('head_wide')), V);
    this.width = width;
    this.fold = { tune: { FOLD: fold } };
    const make = (label: string, ...shape: Extent[]): Tensor => {
      const tensor = new Tensor(gpu, `head.${label}`, shape);
      this.tensors.push(tensor);
      return tensor;
    };
    this.stats = make('stats', S, STATS.length);
    // Rows begin at whole vec4s.
    this.tile = make('tile', S, wholeFours(width));
    this.state = make('state', S, 4);
    if (options.terms) this.terms = make('terms', S, TERMS.length);
    if (options.terms?.square) this.square = make('square', S, 2);
    if (options.terms?.refEntropy) this.refState = make('ref_state', S, 4);
    if (mode === 'hidden') {
      this.refTile = make('ref_tile', S, wholeFours(width));
      this.criterion = make('criterion', S, 8);
      this.offset = make('offset', S);
      if (options.bf16) this.mixed = make('mixed', S, 9);
      if (options.rounded) {
        this.roundedHidden = make('rounded_hidden', S, D);
        this.roundedTile = make('rounded_tile', S, wholeFours(width));
      }
    }
    this.ranges = [];
    let v0 = 0;
    pieces.forEach((piece, i) => {
      const rows = piece.shape[0] as number;
      for (let first = 0; first < rows; first += width) {
        const count = Math.min(width, rows - first);
        this.ranges.push({ piece: i, first, v0, count });
        v0 += count;
      }
    });
    const { tiles = 'recomputed' } = options;
    // A vocabulary of one tile stands from the forward pass as it is; one that a small table limit alone cuts is planned so too.
    if (tiles === 'recomputed' || V <= width || !gpu.uses('head_tiles_kept')) return;
    for (const range of this.ranges) {
      const keep = (label: string): Tensor => {
        const tensor = keptTile(gpu, `head.${label} ${range.v0}`, S, range.count, fold);
        this.tensors.push(tensor);
        return tensor;
      };
      range.kept = keep('kept');
      if (tiles === 'kept_both' && options.klGradient) range.refKept = keep('ref_kept');
    }
  }

  /**
   * hidden [S, D], labels [S]; with a reference its label log-probs `refLogps` [S] and, in mode `hidden`, its states
   * `refHidden` [S, D] (already rounded if `rounded`). Fills `stats`.
   */
  forward(p: Program, t: { hidden: Tensor; labels: Tensor; refLogps?: Tensor; refHidden?: Tensor; tokenWeights?: Tensor | undefined }): void {
    const { mode, pieces, refPieces, rounded, epsilon = 0.01, softCap: cap = 0, realign } = this.options;
    const { tile, state, criterion, offset, refTile, mixed } = this;
    const criterionHidden = rounded ? this.roundedHidden : t.hidden;
    const criterionTile = rounded ? this.roundedTile : tile;
    if (mode === 'hidden') {
      if (rounded) p.run(roundF16, { x: t.hidden.flat(), y: this.roundedHidden!.flat() });
      let first = 0;
      pieces.forEach((w, i) => {
        const refW = refPieces![i]!;
        p.run(labelOffset(formatOf(w), formatOf(refW)), { hidden: criterionHidden!, ref_hidden: t.refHidden!, ...weightTensors('w', w), ...weightTensors('ref_w', refW), labels: t.labels, offset: offset! }, { first, soft_cap: cap, scale: realign ?? 1 });
        first += w.shape[0] as number;
      });
    }
    for (const { piece, first, v0, count, kept, refKept } of this.ranges) {
      matmulNT(p, { x: t.hidden, w: pieces[piece]!, y: tile }, { first, count });
      softCap(p, tile, cap);
      if (mode === 'hidden') {
        matmulNT(p, { x: t.refHidden!, w: refPieces![piece]!, y: refTile! }, { first, count });
        softCap(p, refTile!, cap);
      }
      if (realign !== undefined) mix(p, { x: refTile!, y: tile }, 1 - realign);
      if (kept) p.run(headStatsKept, { tile, labels: t.labels, state, kept }, { v0, count, ...keptArgs(count) }, this.fold);
      else p.run(headStats, { tile, labels: t.labels, state }, { v0, count }, this.fold);
      if (this.square) p.run(headSquare, { tile, square: this.square }, { v0, count }, this.fold);
      if (this.refState) p.run(headStats, { tile: refTile!, labels: t.labels, state: this.refState }, { v0, count }, this.fold);
      if (mode !== 'hidden') continue;
      if (rounded) {
        matmulNT(p, { x: criterionHidden!, w: pieces[piece]!, y: criterionTile! }, { first, count });
        softCap(p, criterionTile!, cap);
        if (realign !== undefined) mix(p, { x: refTile!, y: criterionTile! }, 1 - realign);
      }
      const compared = { tile: criterionTile!, ref_tile: refTile!, offset: offset!, criterion: criterion! };
      if (refKept) p.run(headCriterionKept, { ...compared, kept: refKept }, { v0, count, epsilon, ...keptArgs(count) }, this.fold);
      else p.run(headCriterion, compared, { v0, count, epsilon }, this.fold);
      if (mixed) p.run(headBf16, { tile: criterionTile!, ref_tile: refTile!, labels: t.labels, mixed }, { v0, count, epsilon }, this.fold);
    }
    const { stats } = this;
    if (mode === 'none') p.run(tokenStats.none, { state, stats });
    else if (mode === 'logps') p.run(tokenStats.logps, { state, stats, ref_logps: t.refLogps! });
    else {
      const inputs = { state, stats, ref_logps: t.refLogps!, criterion: criterion!, offset: offset! };
      if (mixed) p.run(tokenStats.bf16, { ...inputs, mixed }, { epsilon });
      else p.run(tokenStats.hidden, inputs, { epsilon });
    }
    this.recordTerms(p, t.tokenWeights);
  }

  private recordTerms(p: Program, tokenWeights: Tensor | undefined): void {
    const { stats, terms, state, square, refState } = this;
    if (!terms) return;
    const kernel = tokenTerms({ weights: tokenWeights !== undefined, square: square !== undefined, refEntropy: refState !== undefined });
    p.run(kernel, { stats, terms, ...(tokenWeights ? { token_weights: tokenWeights } : {}), ...(square ? { state, square } : {}), ...(refState ? { ref_state: refState } : {}) });
  }

  /** coef [Q, 2] per sequence, seqOf [S], tokenWeights [S, 2] (of c and k) → dHidden [S, D] (written), gradients of the table (added). */
  backward(p: Program, t: { hidden: Tensor; labels: Tensor; coef: Tensor; seqOf: Tensor; dHidden: Tensor; refHidden?: Tensor; tokenWeights?: Tensor | undefined }): void {
    const { pieces, dPieces, refPieces, klGradient, softCap: cap = 0 } = this.options;
    const { tile, state } = this;
    const filled = this.flags(p);
    this.ranges.forEach(({ piece, first, v0, count, kept, refKept }, i) => {
      // A vocabulary of one tile still stands from the forward pass.
      const again = this.ranges.length > 1;
      if (again && !kept) {
        matmulNT(p, { x: t.hidden, w: pieces[piece]!, y: tile }, { first, count });
        softCap(p, tile, cap);
      }
      if (again && klGradient && !refKept) {
        matmulNT(p, { x: t.refHidden!, w: refPieces![piece]!, y: this.refTile! }, { first, count });
        softCap(p, this.refTile!, cap);
      }
      const inputs = { state, labels: t.labels, seq_of: t.seqOf, coef: t.coef, ...(kept ? { logit_kept: kept } : {}), ...(t.tokenWeights ? { token_weights: t.tokenWeights } : {}) };
      const form: GradientForm = { weighted: t.tokenWeights !== undefined, kept: kept !== undefined, refKept: refKept !== undefined };
      const args = { v0, soft_cap: cap, ...keptArgs(count) };
      // Where only products in f16 read the gradient, they are given it packed.
      const half = !klGradient && p.gpu.uses('head_grad_operand') && count % 4 === 0 ? p.operands?.weight(pieces[piece]!) : undefined;
      const noted = half ? filled?.[i] : undefined;
      if (klGradient) p.run(headGradKl(form), { ...inputs, tile, ...(refKept ? { ref_logit_kept: refKept } : { ref_tile: this.refTile! }), criterion: this.criterion! }, { ...args, count }, this.fold);
      else if (half) writeOperand(p, headGradF16(form, noted !== undefined), { ...inputs, ...(kept ? {} : { tile }) }, tile, half.slots.gradient, { columns: count, gradient: true, args, ...this.fold, filled: noted });
      else p.run(headGrad(form), { ...inputs, tile }, { ...args, count }, this.fold);
      matmulNN(p, { x: tile, w: pieces[piece]!, y: t.dHidden }, { first, count, accumulate: i > 0, filled: noted });
      if (dPieces) matmulTN(p, { a: tile, b: t.hidden, y: dPieces[piece]! }, { first, count, filled: noted });
    });
  }

  /** Flags of each range's gradient, cleared, where such gradients leave `headGradF16` as operands. */
  private flags(p: Program): Filled[] | undefined {
    const { S, pieces, klGradient } = this.options;
    const { operands } = p;
    const noted = operands && !klGradient && p.gpu.uses('head_tile_skip') && p.gpu.uses('head_grad_operand') && pieces.some((w) => operands.weight(w));
    if (!noted) return undefined;
    if (!this.filled) {
      this.filled = filledRoom(p, 'head.filled', S, this.ranges.map(({ count }) => count), operands.tile);
      this.tensors.push(this.filled.all);
    }
    p.clear(this.filled.all);
    return this.filled.each;
  }

  get bytes(): number {
    return this.tensors.reduce((n, t) => n + t.bytes, 0);
  }
  destroy(): void {
    for (const t of this.tensors) t.destroy();
  }
}
