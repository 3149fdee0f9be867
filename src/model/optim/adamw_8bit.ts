import { adamw } from '../../gpu/ops/adamw.js';
import { adamw8bit, adamw8bitTogether, blocks8bit, tableBytes8bit, words8bit, type Kept8bit } from '../../gpu/ops/adamw_8bit.js';
import { Tensor } from '../../gpu/tensor.js';
import { dynamicMaps } from '../packing/dynamic_map.js';
import { moments } from './adamw_torch.js';
import { adamwArgs, roundingKey } from './args.js';
import type { Optimiser, PieceShape } from './types.js';

/** bitsandbytes' min_8bit_size: smaller tensors keep f32 moments. */
export const MIN_8BIT_SIZE = 4096;

/** transformers' Trainer has bitsandbytes keep f32 moments of every embedding, also where the head is tied to it. */
const in8bit = ({ elements, embedding }: PieceShape): boolean => elements >= MIN_8BIT_SIZE && !embedding;

export const adamw8bitOptimiser: Optimiser = {
  name: 'adamw_8bit',
  about: 'AdamW with moments of 8 bits in blocks of 256, 2.03 bytes a parameter; embeddings and tensors under 4,096 numbers keep f32 moments',
  source: 'Dettmers et al. 2022, arXiv 2110.02861; bitsandbytes AdamW8bit as transformers sets it up',
  state(piece) {
    if (!in8bit(piece)) return moments(piece);
    const E = piece.shape.reduce((a, b) => a * b, 1);
    return [
      { name: 'm8', shape: [words8bit(E)], type: 'u32' }, { name: 'm_max', shape: [blocks8bit(E)], type: 'f32' },
      { name: 'v8', shape: [words8bit(E)], type: 'u32' }, { name: 'v_max', shape: [blocks8bit(E)], type: 'f32' },
    ];
  },
  joins: (piece) => (in8bit(piece) ? 'blocks' : 'elements'),
  noted: (piece) => (in8bit(piece) ? tableBytes8bit(piece.elements) : 0),
  copies: (piece) => !in8bit(piece),
  scratch: () => 512 * 4,
  record(p, tensors, stepState) {
    const maps = new Tensor(p.gpu, '8-bit maps', [512]);
    maps.write(dynamicMaps());
    for (const { shape, pieces, number } of tensors) {
      for (const { value, grad, state, index, members } of pieces) {
        const key = roundingKey(number, index);
        const kept = (of: Record<string, Tensor>): Kept8bit => ({ m: of['m8']!, v: of['v8']!, mMax: of['m_max']!, vMax: of['v_max']! });
        if (state['m8'] && members) adamw8bitTogether(p, { value, grad, ...kept(state), maps, stepState }, members.map((x) => ({ value: x.value, ...kept(x.state) })), adamwArgs(shape));
        else if (state['m8']) adamw8bit(p, { value, grad, ...kept(state), maps, stepState }, adamwArgs(shape), key);
        else adamw(p, { value, grad, m: state['m']!, v: state['v']!, stepState }, adamwArgs(shape), key);
      }
    }
  },
};
