import type { Dims } from '../dims.js';

/** What one block is made of; a family is a choice among what the kernels offer, never an `if` in the transformer. */
export interface BlockSpec {
  norm: { kind: 'rms'; eps: number };
  position: { kind: 'rope'; theta: number };
  attention: { scale: number; softCap: number; window: number };
  mlp: { kind: 'swiglu' };
  residual: 'pre_norm';
}

/** Names of a layer's tensors in the checkpoint; shapes follow from Dims ([out, in], as torch's Linear). */
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
}

/** A model as the kernels see it: sizes, blocks and tensor names, read from config.json by its family. */
export interface ModelSpec extends Dims {
  modelType: string;
  block: BlockSpec;
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
  const add = (name: string, ...shape: number[]): void => void list.push({ name, shape, table: false });
  for (const layer of names.layers) {
    add(layer.norm1, D);
    add(layer.q, H * C, D);
    add(layer.k, G * C, D);
    add(layer.v, G * C, D);
    add(layer.o, D, H * C);
    add(layer.norm2, D);
    add(layer.gate, F, D);
    add(layer.up, F, D);
    add(layer.down, D, F);
  }
  add(names.norm, D);
  if (!spec.tied) list.push({ name: names.head, shape: [V, D], table: true });
  return list;
}

/** Number of parameters. */
export const parameterCount = (spec: ModelSpec): number =>
  parameterSpecs(spec).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
