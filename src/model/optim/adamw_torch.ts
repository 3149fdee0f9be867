import { adamw } from '../../gpu/ops/adamw.js';
import { adamwArgs, roundingKey } from './args.js';
import type { Optimiser, PieceShape, StateSpec } from './types.js';

/** m and v in f32. */
export const moments = ({ shape }: PieceShape): StateSpec[] => [{ name: 'm', shape, type: 'f32' }, { name: 'v', shape, type: 'f32' }];

export const adamwTorch: Optimiser = {
  name: 'adamw_torch',
  about: 'AdamW with moments in f32: 8 bytes a parameter',
  source: 'Loshchilov & Hutter 2019, arXiv 1711.05101; torch.optim.AdamW',
  state: moments,
  joins: () => 'elements',
  copies: () => true,
  record(p, tensors, stepState) {
    for (const { shape, pieces, number } of tensors) {
      for (const { value, grad, state, index } of pieces) adamw(p, { value, grad, m: state['m']!, v: state['v']!, stepState }, adamwArgs(shape), roundingKey(number, index));
    }
  },
};
