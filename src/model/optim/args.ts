import type { AdamWArgs } from '../../gpu/ops/adamw.js';
import { scalar, type ArgValue } from '../../gpu/program.js';

/** No weight decay on vectors (norm gains, biases), as transformers' Trainer has it. */
export const decayOf = (shape: number[]): ArgValue => (shape.length > 1 ? scalar('weightDecay') : 0);

/** The step's numbers of AdamW for a tensor of this shape. */
export const adamwArgs = (shape: number[]): AdamWArgs => ({
  lr: scalar('lr'), beta1: scalar('beta1'), beta2: scalar('beta2'), oneMinusBeta1: scalar('oneMinusBeta1'), oneMinusBeta2: scalar('oneMinusBeta2'), epsilon: scalar('adamEpsilon'), weightDecay: decayOf(shape),
});

/** The number of a piece in the rounding of packed values. */
export const roundingKey = (tensor: number, piece: number): number => tensor * 4096 + piece;
