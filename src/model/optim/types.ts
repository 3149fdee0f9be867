import type { ElementType, Tensor } from '../../gpu/tensor.js';
import type { Program } from '../../gpu/program.js';

/** A trained tensor, or a piece of one (rows of a vocabulary table), as an optimiser must know it to say what it keeps. */
export interface PieceShape {
  /** [rows, width], or [n]. */
  shape: number[];
  /** Of the whole tensor. */
  elements: number;
  /** Which piece: 0 for a tensor in one. */
  index: number;
  /** Token or position embeddings. */
  embedding: boolean;
}

/** A tensor an optimiser keeps beside a piece; zero at the start. */
export interface StateSpec {
  name: string;
  shape: number[];
  type: ElementType;
}

export interface TrainedPiece extends PieceShape {
  value: Tensor;
  grad: Tensor;
  state: Record<string, Tensor>;
  /** Where several of an arena come as one: these, in the order they lie. */
  members?: TrainedPiece[];
}

/** A trained tensor with its pieces. */
export interface TrainedTensor {
  name: string;
  shape: number[];
  /** Its place among all that is trained, for the rounding of packed values. */
  number: number;
  pieces: TrainedPiece[];
}

/** Numbers fixed for a run. */
export interface OptimiserSettings {
  /** sgd_momentum */
  momentum: number;
}

/**
 * An optimiser: a file of this folder, listed in `index.ts`. Per-step numbers are dynamic scalars of the replay: lr, beta1, beta2, oneMinusBeta1, oneMinusBeta2,
 * adamEpsilon, weightDecay, stepKey. `stepState` is what step_state.update left: clip coefficient, skip flag, t.
 */
export interface Optimiser {
  name: string;
  about: string;
  /** Where it comes from. */
  source: string;
  state(piece: PieceShape, o: OptimiserSettings): StateSpec[];
  /**
   * How a piece moves: pieces behind one another in an arena that move alike come as one. `elements`: each by its own numbers alone, so that the whole may be taken for a tensor;
   * `blocks`: `record` finds them in `members`. Undefined, and where absent: each comes by itself.
   */
  joins?(piece: PieceShape): 'elements' | 'blocks' | undefined;
  /** Bytes of what `record` notes of a piece that comes with others. */
  noted?(piece: PieceShape): number;
  /** Whether the f16 copy of this piece (mixed precision) is written with its values, a tensor at a time. */
  copies?(piece: PieceShape): boolean;
  /** Bytes of scratch for tensors of these pieces, each list one tensor's. */
  scratch?(tensors: PieceShape[][]): number;
  /** Records the update of all tensors; several that lie in an arena may come as one. */
  record(p: Program, tensors: TrainedTensor[], stepState: Tensor, o: OptimiserSettings): void;
}
