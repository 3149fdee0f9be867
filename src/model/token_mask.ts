import type { Gpu } from '../gpu/device.js';
import { maskSite, siteMean } from '../gpu/ops/token_mask.js';
import { Tensor } from '../gpu/tensor.js';
import type { BatchAxes, BatchTensors } from './batch/tensors.js';
import type { TransformerParts } from './transformer.js';

/** Kinds of activations in a layer that a MaPO mask is made of: what attention adds, what the MLP adds, the residual stream after both. */
const SITES = 3;

/**
 * MaPO's mask (SparsePO, arXiv 2410.05102, section 3): for each layer and kind of activation of the reference, its mean over the features at the position that predicts a
 * token, brought to [0, 1] over the response; the mask is the mean of those. Records itself into the reference's forward pass and fills `mask` [S, 2].
 */
export function mapoMask(gpu: Gpu, axes: BatchAxes, batch: BatchTensors, L: number, mask: Tensor): NonNullable<TransformerParts['afterLayer']> {
  const y = new Tensor(gpu, 'site', [axes.S]);
  const scale = 1 / (SITES * L);
  return (p, l, { x, xmid, out }) => {
    [{ x: xmid, base: x }, { x: out, base: xmid }, { x: out }].forEach((t, i) => {
      siteMean(p, { ...t, src: batch.src, y });
      p.run(maskSite, { y, seq_start: batch.seqStart, mask }, { Q: axes.Q, accumulate: l > 0 || i > 0 ? 1 : 0, scale });
    });
  };
}
