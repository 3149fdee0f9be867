import { sgd } from '../../gpu/ops/sgd.js';
import { scalar } from '../../gpu/program.js';
import { decayOf, roundingKey } from './args.js';
import type { Optimiser } from './types.js';

export const sgdOptimiser: Optimiser = {
  name: 'sgd',
  about: 'SGD, with momentum by sgd_momentum: 4 bytes a parameter, none without',
  source: 'torch.optim.SGD without dampening; weight decay is part of the gradient',
  state: ({ shape }, { momentum }) => (momentum > 0 ? [{ name: 'buf', shape, type: 'f32' }] : []),
  joins: () => 'elements',
  record(p, tensors, stepState, { momentum }) {
    for (const { shape, pieces, number } of tensors) {
      for (const { value, grad, state, index } of pieces) sgd(p, { value, grad, buf: state['buf'], stepState }, { lr: scalar('lr'), weightDecay: decayOf(shape), momentum }, roundingKey(number, index));
    }
  },
};
