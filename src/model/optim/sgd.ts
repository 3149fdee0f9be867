import { sgd } from '../../gpu/ops/sgd.js';
import { scalar } from '../../gpu/program.js';
import { decayOf } from './args.js';
import type { Optimiser } from './types.js';

export const sgdOptimiser: Optimiser = {
  name: 'sgd',
  about: 'SGD, with momentum by sgd_momentum: 4 bytes a parameter, none without',
  source: 'torch.optim.SGD without dampening; weight decay is part of the gradient',
  state: ({ shape }, { momentum }) => (momentum > 0 ? [{ name: 'buf', shape, type: 'f32' }] : []),
  record(p, tensors, stepState, { momentum }) {
    tensors.forEach(({ shape, pieces }, n) => {
      for (const { value, grad, state, index } of pieces) sgd(p, { value, grad, buf: state['buf'], stepState }, { lr: scalar('lr'), weightDecay: decayOf(shape), momentum }, n * 4096 + index);
    });
  },
};
