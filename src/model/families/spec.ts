import type { Gate } from '../../gpu/ops/swiglu.js';
import type { Dims } from '../dims.js';

/** What one block is made of; a family is a choice among what the kernels offer, never an `if` in the transformer. */
export interface BlockSpec {
  /** RMSNorm's ε; `offset` 1 where checkpoints store the gain less 1. */
  norm: { eps: number; offset: 0 | 1 };
  /** RoPE: radians a position for each pair of a head, C / 2 of them. */
  position: { frequencies: number[] };
  /** Scores are scale·q·k, soft-capped (0: not); `windows` per layer in positions (0: all). */
  attention: { scale: number; softCap: number; windows: number[] };
  mlp: { gate: Gate };
}

/**
 * Names of a layer's tensors in the checkpoint; shapes follow from Dims ([out, in], as torch's Linear). What is optional is there where the
 * family has it: biases of the projections, norms of each query and key head, norms of what attention and MLP add to the residual.
 */
export interface LayerNames {
  norm1: string;
  q: string;
  k: string;
  v: string;
  o: string;
  norm2: string;
  gate: string;
  up: string;
  down: string;
  qBias?: string;
  kBias?: string;
  vBias?: string;
  qNorm?: string;
  kNorm?: string;
  postNorm1?: string;
  postNorm2?: string;
}

/** A model as the kernels see it: sizes, blocks and tensor names, read from config.json by its family. */
export interface ModelSpec extends Dims {
  modelType: string;
  block: BlockSpec;
  /** Embeddings enter multiplied by this. */
  embedScale: number;
  /** Logits are cap·tanh(z/cap); 0: as they are. */
  logitSoftCap: number;
  tied: boolean;
  maxPositions: number;
  names: { embed: string; layers: LayerNames[]; norm: string; head: string };
}

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
  for (const layer of names.layers) {
    add(layer.norm1, D);
    add(layer.q, H * C, D);
    add(layer.qBias, H * C);
    add(layer.k, G * C, D);
    add(layer.kBias, G * C);
    add(layer.v, G * C, D);
    add(layer.vBias, G * C);
    add(layer.qNorm, C);
    add(layer.kNorm, C);
    add(layer.o, D, H * C);
    add(layer.postNorm1, D);
    add(layer.norm2, D);
    add(layer.gate, F, D);
    add(layer.up, F, D);
    add(layer.down, D, F);
    add(layer.postNorm2, D);
  }
  add(names.norm, D);
  if (!spec.tied) list.push({ name: names.head, shape: [V, D], table: true });
  return list;
}

/** Number of parameters. */
export const parameterCount = (spec: ModelSpec): number =>
  parameterSpecs(spec).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
