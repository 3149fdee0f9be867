import type { Gpu } from '../gpu/device.js';
import type { MatrixTile } from '../gpu/matrices.js';
import { matrixAttention } from '../gpu/ops/attention_matrix_tile.js';
import { turnsInProduct } from '../gpu/ops/result_rows.js';
import { swigluInProduct } from '../gpu/ops/result_swiglu.js';
import { PackedTensor } from '../gpu/packed.js';
import { byFours, type Paths } from '../gpu/paths.js';
import { OperandTensor, Tensor, type Extent } from '../gpu/tensor.js';
import type { LayerNames, ModelSpec } from './families/spec.js';
import { inMatrices } from './adapter_operands.js';
import type { Parameters } from './parameters.js';
import { rotaryWidth } from './rotary.js';

/** Which tensors of a model no layer needs in f32, because all that reads them multiplies their packed operand. */
export interface OperandTensors {
  /** Norms' outputs [N, D]; the MLP's product [N, F]. */
  h: boolean;
  act: boolean;
  /** Gate and up [N, F] in a pass that keeps nothing: they are multiplied where they leave their product. */
  gateUp: boolean;
  /** Gradients of that product and of gate and up [N, F]; the first is not made at all where the others leave its product. */
  dact: boolean;
  dgate: boolean;
  dup: boolean;
  /** What a post-norm makes of the residual's gradient [N, D]. */
  dpost: boolean;
  /** What the A of adapters makes of its input, and the gradient of that [N, r]. */
  u: boolean;
  /** Queries, keys and values: what is kept of them for the backward pass is what attention multiplies. */
  heads: boolean;
  /** Of these, what leaves its product so. */
  q: boolean;
  k: boolean;
  v: boolean;
}

/** In f32 throughout. */
export const ALL_IN_F32: OperandTensors = { h: false, act: false, gateUp: false, dact: false, dgate: false, dup: false, dpost: false, u: false, heads: false, q: false, k: false, v: false };

/** The matrices of a layer but its gate. */
export const layerWeights = (w: LayerNames): string[] => [w.q, w.k, w.v, w.o, w.up, w.down];

/** Can the products of queries and keys turn their heads? */
export const turnsWhereMade = (spec: ModelSpec, tile: MatrixTile): boolean => rotaryWidth(spec) === 0 || turnsInProduct(tile, spec.C, rotaryWidth(spec));

/**
 * What `norm` (layer.ts), `mlpProduct` (mlp.ts), attention and the backward passes of the MLP and of post-norms make as operands alone in every layer; the same questions as they ask of one.
 * @param of a weight: has it an adapter, which reads its input too and adds to its result; has it an f16 copy, as those in f32 have? Adapters: do they multiply in matrices, has their input dropout?
 */
export function operandTensors(spec: ModelSpec, tile: MatrixTile, paths: Paths, { adapted, copied, inMatrices, dropout }: Record<'adapted' | 'copied', (weight: string) => boolean> & { inMatrices: boolean; dropout: boolean }): OperandTensors {
  const { layers } = spec.names;
  const none = (of: (w: LayerNames) => Array<string | undefined>): boolean => layers.every((w) => of(w).every((name) => name === undefined || !adapted(name)));
  const all = (of: (w: LayerNames) => Array<string | undefined>): boolean => (inMatrices && !dropout) || none(of);
  const [first] = layers;
  const norms = normPacks(paths, spec.D);
  const gated = paths.uses('swiglu_operand') && first!.gate !== undefined && spec.F % 4 === 0;
  const inputs = gated && first!.upBias === undefined && all((w) => [w.gate, w.up]);
  const heads = paths.uses('attention_matrix') && paths.uses('heads_kept') && matrixAttention(spec.C, tile);
  const made = heads && paths.uses('product_heads');
  const turned = made && turnsWhereMade(spec, tile);
  const dact = paths.uses('swiglu_product') && inputs && none((w) => [w.gate, w.up, w.down]);
  return {
    h: norms && all((w) => [w.q, w.k, w.v, w.gate, w.up]),
    act: gated && all((w) => [w.down]),
    gateUp: dact && swigluInProduct(tile, spec.F) && layers.every((w) => copied(w.gate!) && copied(w.up)),
    dact,
    dgate: inputs,
    dup: inputs,
    dpost: norms && first!.postNorm1 !== undefined && first!.oBias === undefined && first!.downBias === undefined && all((w) => [w.o, w.down]),
    u: inMatrices && paths.uses('lora_operands'),
    heads,
    q: turned && first!.qNorm === undefined && none((w) => [w.q]),
    k: turned && first!.kNorm === undefined && none((w) => [w.k]),
    v: made && none((w) => [w.v]),
  };
}

/** Whether a norm of this width may write its result as an operand: it sums by fours, and where other norms do not, bits must be theirs. */
export const normPacks = (paths: Paths, D: number): boolean => paths.uses('norm_operand') && byFours(paths, D);

/** The same of a model on this device; in f32 unless it runs in mixed precision. */
export function operandTensorsOf(gpu: Gpu, parameters: Parameters): OperandTensors {
  return gpu.mixed ? operandTensors(parameters.spec, gpu.mixed, gpu, { adapted: (weight) => parameters.adapters?.of(weight) !== undefined, copied: (weight) => !(parameters.piece(weight).value instanceof PackedTensor), inMatrices: inMatrices(gpu, parameters), dropout: (parameters.adapters?.dropout ?? 0) > 0 }) : ALL_IN_F32;
}

/** A tensor, or only its name and shape where it stands as a packed operand. */
export const scratchTensor = (gpu: Gpu, label: string, shape: Extent[], operandAlone: boolean): Tensor => (operandAlone ? new OperandTensor(gpu, label, shape) : new Tensor(gpu, label, shape));
