import type { Gpu } from '../gpu/device.js';
import type { HeadTiles } from '../gpu/ops/kept_tiles.js';
import type { KeepFormat } from './activations.js';
import type { BatchCapacity, Document, PackedBatch } from './batch/pack.js';
import type { LossDefinition, LossSettings } from './losses/types.js';
import type { Optimiser, OptimiserSettings } from './optim/types.js';
import type { Parameters } from './parameters.js';

/** Where the reference's quantities come from. */
export type ReferencePlan =
  | { kind: 'none' }
  /** Log-probs uploaded per scored row; `head` re-projects cached hidden states where the method needs them. */
  | { kind: 'cache'; head?: Parameters; rounded: boolean }
  /** The reference runs in every micro-batch. */
  | { kind: 'live'; parameters: Parameters };

export interface EngineOptions {
  gpu: Gpu;
  policy: Parameters;
  loss: LossDefinition;
  settings: LossSettings;
  reference: ReferencePlan;
  capacity: BatchCapacity;
  training: boolean;
  /** Most documents of a group, for losses with statistics over one; as many as a micro-batch's sequences where absent. */
  groupSize?: number;
  /** What of a layer is made again in the backward pass: nothing, all of it, or its MLP. */
  gradientCheckpointing?: boolean | 'mlp';
  /** How what is kept lies between the passes; f32 where absent. */
  activations?: KeepFormat | undefined;
  /** Tiles of the head's logits that are kept for the backward pass; none where absent. */
  headTiles?: HeadTiles | undefined;
  /** AdamW in f32 where absent. */
  optimiser?: Optimiser | undefined;
  optimiserSettings?: OptimiserSettings | undefined;
  /** Columns of a vocabulary tile. */
  tile?: number;
  /** Of the tensors a method trains of its own; 0 where absent. */
  seed?: number | undefined;
  /** λ of decoding-time realignment: the policy scored is λ f + (1 - λ) r (evaluation with the reference's whole distribution). */
  realign?: number | undefined;
}

/** Cached reference rows of a micro-batch, in the order of its scored rows. */
export interface ReferenceRows {
  logps: Float32Array;
  /** [S, D] */
  hidden?: Float32Array;
}

/** What a micro-batch gives back: a row of PAIR_COLUMNS per document. */
export interface MicroResult {
  documents: Document[];
  batch: PackedBatch;
  table: Float32Array;
}

/** A micro-batch's part of a group. */
export interface GroupPart {
  /** Documents of the group. */
  members: number;
  /** Place of each document of the micro-batch in it. */
  places: number[];
  /** A number in (0, 1) for each, from (seed, step, document). */
  uniforms: number[];
  /** The whole group is here (statistics, then losses), or its statistics are there already (`scorePart`). */
  whole: boolean;
}

/** What an optimiser step gives back, read one step late. */
export interface StepRecord {
  gradNorm: number;
  skipped: boolean;
  t: number;
  /** β after the step. */
  beta: number;
  /** In mixed precision, after the step. */
  lossScale?: number;
}

/** Numbers of one optimiser step. */
export interface OptimiserValues {
  lr: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  maxGradNorm: number;
}
