import { adafactor, adafactorScratch } from '../../gpu/ops/adafactor.js';
import { scalar } from '../../gpu/program.js';
import { Tensor } from '../../gpu/tensor.js';
import { decayOf, roundingKey } from './args.js';
import type { Optimiser, PieceShape } from './types.js';

/** The largest scratch any tensor needs: all tensors use the same. */
function scratchSize(tensors: PieceShape[][]): { partial: number; slots: number } {
  const sizes = tensors.map((pieces) => adafactorScratch(pieces.map((x) => x.shape[0]!), pieces[0]!.shape[1] ?? 1));
  return { partial: Math.max(1, ...sizes.map((s) => s.partial)), slots: Math.max(1, ...sizes.map((s) => s.slots)) };
}

export const adafactorOptimiser: Optimiser = {
  name: 'adafactor',
  about: 'Adafactor with a factored second moment and learning_rate from outside: a number a row and a column of a matrix',
  source: 'Shazeer & Stern 2018, arXiv 1804.04235; transformers’ Adafactor as its Trainer sets it (scale_parameter and relative_step off, clip_threshold 1, decay_rate -0.8, no momentum)',
  state({ shape, index }) {
    if (shape.length === 1) return [{ name: 'v', shape, type: 'f32' }];
    // The columns' means are of all pieces: the first one holds them.
    return [{ name: 'row', shape: [shape[0]!], type: 'f32' }, ...(index === 0 ? [{ name: 'column', shape: [shape[1]!], type: 'f32' as const }] : [])];
  },
  scratch(tensors) {
    const { partial, slots } = scratchSize(tensors);
    return 4 * (partial + slots + 4);
  },
  record(p, tensors, stepState) {
    const { partial, slots } = scratchSize(tensors.map((t) => t.pieces));
    const scratch = { partial: new Tensor(p.gpu, 'adafactor column sums', [partial]), slots: new Tensor(p.gpu, 'adafactor sums', [slots]), total: new Tensor(p.gpu, 'adafactor totals', [4]) };
    for (const { shape, pieces, number } of tensors) {
      adafactor(p, pieces.map(({ value, grad, state }) => ({ value, grad, row: state['row'], v: state['v'] })), pieces[0]!.state['column'], scratch, stepState, { lr: scalar('lr'), weightDecay: decayOf(shape) }, roundingKey(number, 0));
    }
  },
};
