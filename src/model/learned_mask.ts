import type { Gpu } from '../gpu/device.js';
import { maskColumnsBackward, maskMix, maskMixBackward, maskScore, maskScoreBackward, maskStates } from '../gpu/ops/learned_mask.js';
import { scalar, type Program } from '../gpu/program.js';
import { Tensor } from '../gpu/tensor.js';
import type { Document, PackedBatch } from './batch/pack.js';
import { rowKeys } from './batch/row_keys.js';
import type { BatchAxes, BatchTensors } from './batch/tensors.js';
import { keyedUniform } from './data/order.js';
import type { ModelSpec, ParameterSpec } from './families/spec.js';
import { maskPenalty } from './losses/sparsepo.js';
import { Parameters } from './parameters.js';
import type { TransformerParts } from './transformer.js';

/** One mask for log-probs and KLs, or one for each. */
export type MaskKind = 'common' | 'independent';

/** Which of a row's two weights a mask is: 0 both, 1 of its log-prob, 2 of its KL. */
const PARTS: Record<MaskKind, Array<{ name: string; part: number }>> = {
  common: [{ name: 'mask', part: 0 }],
  independent: [{ name: 'mask.reward', part: 1 }, { name: 'mask.kl', part: 2 }],
};

/** Far from the numbers of a model's matrices, whose dropout goes by the same keys. */
const DROPOUT_MATRIX = 0x4d00;
const INIT = 0x4d61;

/** The tensors of the masks, beside a reference of this spec: LayerNorm [D], a linear map [L, D] and [L] (row l is layer l's), and the mix of the layers [1, L]. */
export function maskSpecs({ L, D }: ModelSpec, kind: MaskKind): ParameterSpec[] {
  return PARTS[kind].flatMap(({ name }) => [
    { name: `${name}.layer_norm.weight`, shape: [D] }, { name: `${name}.layer_norm.bias`, shape: [D] },
    { name: `${name}.layers.weight`, shape: [L, D] }, { name: `${name}.layers.bias`, shape: [L] }, { name: `${name}.mix.weight`, shape: [1, L] },
  ].map((p) => ({ ...p, table: false })));
}

/** Floats per row that the masks keep. */
export const maskFloats = ({ L, D }: ModelSpec, kind: MaskKind): number => L * D + PARTS[kind].length * (2 * L + 1) + 1;

/**
 * SparsePO's learned mask (arXiv 2410.05102, section 3; "simple_all" of its code): with h_l the reference's residual stream after layer l at the position that predicts a
 * token, s_l = dropout(relu(w_l·LN(h_l) + b_l)) and m = dropout(relu(Σ_l v_l s_l)). The reference is constant, so gradients end at the mask's own tensors. They start
 * as torch's Linear does, v without its sign: a mask of zeros at every token would never move.
 */
export class LearnedMask {
  readonly parameters: Parameters;
  /** The reference's normed states of each layer, [S, D]. */
  private readonly states: Tensor[];
  private readonly parts: Array<{ name: string; part: number; h: Tensor; dh: Tensor; dsum: Tensor }>;
  private readonly keys: Tensor;
  private readonly penalty: [number, number];

  constructor(gpu: Gpu, private readonly spec: ModelSpec, axes: BatchAxes, o: { kind: MaskKind; seed: number; params: Record<string, number> }, readonly mask: Tensor) {
    const { L, D } = spec;
    this.penalty = maskPenalty(o.kind, o.params);
    this.states = Array.from({ length: L }, (_, l) => new Tensor(gpu, `mask states ${l}`, [axes.S, D]));
    const { S } = axes;
    this.parts = PARTS[o.kind].map((p) => ({ ...p, h: new Tensor(gpu, `${p.name} h`, [S, L]), dh: new Tensor(gpu, `${p.name} dh`, [S, L]), dsum: new Tensor(gpu, `${p.name} dsum`, [S]) }));
    this.keys = new Tensor(gpu, 'mask keys', [S], 'u32');
    this.parameters = new Parameters(gpu, spec, true, 'token', maskSpecs(spec, o.kind));
    this.parameters.list.forEach((p, n) => p.pieces[0]!.value.write(start(p, n, o.seed, L, D)));
  }

  private value(part: { name: string }, name: string): Tensor {
    return this.parameters.piece(`${part.name}.${name}`).value;
  }
  private grad(part: { name: string }, name: string): Tensor {
    return this.parameters.piece(`${part.name}.${name}`).moments!.grad;
  }
  private dropout(part: { part: number }): { matrix: number; step_key: ReturnType<typeof scalar>; p: ReturnType<typeof scalar> } {
    return { matrix: DROPOUT_MATRIX + part.part, step_key: scalar('dropoutKey'), p: scalar('maskDropout') };
  }

  /** Records itself into the reference's forward pass; after the last layer the masks stand in `mask` [S, 2]. */
  recordForward(batch: BatchTensors): NonNullable<TransformerParts['afterLayer']> {
    return (p, l, { out }) => {
      p.run(maskStates, { x: out, src: batch.src, y: this.states[l]! });
      for (const part of this.parts) {
        p.run(maskScore, {
          x: this.states[l]!, gain: this.value(part, 'layer_norm.weight'), shift: this.value(part, 'layer_norm.bias'),
          weight: this.value(part, 'layers.weight'), bias: this.value(part, 'layers.bias'), keys: this.keys, h: part.h,
        }, { layer: l, ...this.dropout(part) });
        if (l === this.spec.L - 1) p.run(maskMix, { h: part.h, mix: this.value(part, 'mix.weight'), keys: this.keys, mask: this.mask }, { part: part.part, ...this.dropout(part) });
      }
    };
  }

  /** coef [Q, 2] of the loss and the head's stats [S, 12] → gradients of the masks' tensors, added. */
  recordBackward(p: Program, t: { coef: Tensor; seqOf: Tensor; stats: Tensor }): void {
    const [l1, l1_kl] = this.penalty;
    for (const part of this.parts) {
      const { h, dh, dsum } = part;
      p.run(maskMixBackward, { h, mix: this.value(part, 'mix.weight'), mask: this.mask, coef: t.coef, seq_of: t.seqOf, stats: t.stats, dh, dsum }, { part: part.part, p: scalar('maskDropout'), l1, l1_kl, inv_count: scalar('invCount') });
      p.run(maskColumnsBackward, { h, dh, dsum, dbias: this.grad(part, 'layers.bias'), dmix: this.grad(part, 'mix.weight') });
      this.states.forEach((x, layer) => p.run(maskScoreBackward, {
        x, dh, gain: this.value(part, 'layer_norm.weight'), shift: this.value(part, 'layer_norm.bias'), weight: this.value(part, 'layers.weight'),
        dweight: this.grad(part, 'layers.weight'), dgain: this.grad(part, 'layer_norm.weight'), dshift: this.grad(part, 'layer_norm.bias'),
      }, { layer }));
    }
  }

  /** Dropout's key of each scored row: that of its token row. */
  writeKeys(documents: Document[], { src, values }: PackedBatch): void {
    const rows = rowKeys(documents);
    this.keys.write(Uint32Array.from(src.subarray(0, values.S), (row) => rows[row]!));
  }
}

/** LayerNorm as the identity; U(-1/√D, 1/√D) for the maps and their biases, U(0, 1/√L) for the mix. */
function start({ name, shape }: ParameterSpec, n: number, seed: number, L: number, D: number): Float32Array {
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (name.endsWith('layer_norm.weight')) return out.fill(1);
  if (name.endsWith('layer_norm.bias')) return out;
  return out.map((_, i) => {
    const u = keyedUniform(INIT, seed, n, i);
    return name.endsWith('mix.weight') ? u / Math.sqrt(L) : (2 * u - 1) / Math.sqrt(D);
  });
}
