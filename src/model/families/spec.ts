import type { Gate } from '../../gpu/ops/swiglu.js';
import type { FloatFormat } from '../files/float_formats.js';
import type { Dims } from '../dims.js';

/** One way of turning queries and keys by their positions (RoPE). */
export interface Rotary {
  /** Radians a position for each of the R / 2 pairs that are turned; what is beyond the first R of a head stays. */
  frequencies: number[];
  /** cos and sin are multiplied by this. */
  scale: number;
  /** Other frequencies for every row of a document whose longest sequence has more than `from` tokens (LongRoPE). */
  long?: { from: number; frequencies: number[] };
}

/** What one block is made of; a family is a choice among what the kernels offer, never an `if` in the transformer. */
export interface BlockSpec {
  /** ε of the norms; `offset` 1 where checkpoints store the gain less 1. A norm whose bias is named is a LayerNorm, any other an RMSNorm. */
  norm: { eps: number; offset: 0 | 1 };
  /** RoPE of one or more kinds, of the same R, and each layer's choice among them; none with learned positions. */
  position: { rotary: Rotary[]; of: number[] };
  /** Scores are scale·q·k, soft-capped (0: not); `windows` per layer in positions (0: all). */
  attention: { scale: number; softCap: number; windows: number[] };
  /** Of the gate, or where the layers name none, of the one projection. */
  mlp: { gate: Gate };
  /** The MLP reads what attention reads, and both are added to the residual at once (GPT-J's and NeoX's form). */
  parallel: boolean;
}

/**
 * Where a parameter lies in the checkpoint, if not as it is: row r of it is row first + floor(r / block)·stride + r mod block of the tensor `name` with
 * `rows` rows in all; `transposed` where the file has [in, out].
 */
export interface StoredAs {
  name: string;
  rows: number;
  first: number;
  block: number;
  stride: number;
  transposed: boolean;
}

/**
 * Names of a layer's tensors in the checkpoint; shapes follow from Dims ([out, in], as torch's Linear). What is optional is there where the
 * family has it: the gate of the MLP, biases, norms of each query and key head, norms of what attention and MLP add to the residual.
 */
export interface LayerNames {
  norm1: string;
  q: string;
  k: string;
  v: string;
  o: string;
  norm2: string;
  gate?: string;
  up: string;
  down: string;
  qBias?: string;
  kBias?: string;
  vBias?: string;
  oBias?: string;
  upBias?: string;
  downBias?: string;
  norm1Bias?: string;
  norm2Bias?: string;
  qNorm?: string;
  kNorm?: string;
  postNorm1?: string;
  postNorm2?: string;
}

/** A model as the kernels see it: sizes, blocks and tensor names, read from config.json by its family. */
export interface ModelSpec extends Dims {
  modelType: string;
  /** What config.json says the weights are stored in; the files themselves decide where they are there. */
  storedFormat?: FloatFormat;
  block: BlockSpec;
  /** Embeddings enter multiplied by this. */
  embedScale: number;
  /** Logits are cap·tanh(z/cap); 0: as they are. */
  logitSoftCap: number;
  tied: boolean;
  maxPositions: number;
  /** Sequences longer than maxPositions cannot be computed, and why; absent where they can. */
  positionLimit?: string;
  /** `positions` [maxPositions, D]: learned positions, added to the embeddings. */
  names: { embed: string; positions?: string; layers: LayerNames[]; norm: string; normBias?: string; head: string };
  /** By parameter name, those the checkpoint has fused with others or transposed. */
  stored?: Record<string, StoredAs>;
  /** What every name but the head's begins with in transformers' files, and may lack in others. */
  prefix?: string;
}

/** GELU by its names in config.json: the erf form, and the tanh form under several names. */
export const GELU: Record<string, Gate> = { gelu: 'gelu', gelu_new: 'gelu_tanh', gelu_pytorch_tanh: 'gelu_tanh', gelu_fast: 'gelu_tanh' };

/** One tensor of the checkpoint with its shape, in the order of the forward pass. */
export interface ParameterSpec {
  name: string;
  shape: number[];
  /** A vocabulary table, split in pieces by rows. */
  table: boolean;
}

/** Every parameter of the model, each once (a tied head is the embedding). */
export function parameterSpecs(spec: ModelSpec): ParameterSpec[] {
  const { D, H, G, C, F, V, names } = spec;
  const list: ParameterSpec[] = [{ name: names.embed, shape: [V, D], table: true }];
  const add = (name: string | undefined, ...shape: number[]): void => void (name !== undefined && list.push({ name, shape, table: false }));
  add(names.positions, spec.maxPositions, D);
  for (const layer of names.layers) {
    add(layer.norm1, D);
    add(layer.norm1Bias, D);
    add(layer.q, H * C, D);
    add(layer.qBias, H * C);
    add(layer.k, G * C, D);
    add(layer.kBias, G * C);
    add(layer.v, G * C, D);
    add(layer.vBias, G * C);
    add(layer.qNorm, C);
    add(layer.kNorm, C);
    add(layer.o, D, H * C);
    add(layer.oBias, D);
    add(layer.postNorm1, D);
    add(layer.norm2, D);
    add(layer.norm2Bias, D);
    add(layer.gate, F, D);
    add(layer.up, F, D);
    add(layer.upBias, F);
    add(layer.down, D, F);
    add(layer.downBias, D);
    add(layer.postNorm2, D);
  }
  add(names.norm, D);
  add(names.normBias, D);
  if (!spec.tied) list.push({ name: names.head, shape: [V, D], table: true });
  return list;
}

/** Number of parameters. */
export const parameterCount = (spec: ModelSpec): number =>
  parameterSpecs(spec).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
