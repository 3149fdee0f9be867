import type { ModelSpec } from '../../src/model/families/spec.js';
import { hiddenStates, type Weights } from './transformer.js';

/** A learned mask's tensors; layers and mix row after row. */
export interface MaskWeights { gain: ArrayLike<number>; shift: ArrayLike<number>; weight: ArrayLike<number>; bias: ArrayLike<number>; mix: ArrayLike<number> }

/** LayerNorm without gain of every layer's output at the positions that predict the response: [row][layer][D]. */
export function normedStates(spec: ModelSpec, w: Weights, prompt: number[], response: number[]): Float64Array[][] {
  const rows: Float64Array[][] = response.map(() => []);
  hiddenStates(spec, w, [...prompt, ...response], undefined, (_, _x, _mid, out) => {
    response.forEach((_y, i) => {
      const h = out[prompt.length - 1 + i]!;
      const mean = h.reduce((a, b) => a + b, 0) / h.length;
      const variance = h.reduce((a, b) => a + (b - mean) ** 2, 0) / h.length;
      rows[i]!.push(Float64Array.from(h, (v) => (v - mean) / Math.sqrt(variance + 1e-5)));
    });
  });
  return rows;
}

/** Scores of the layers after relu and dropout, and the mask; `kept` are dropout's factors: one per layer, then the mask's. */
function row(x: Float64Array[], m: MaskWeights, kept: ArrayLike<number>): { h: number[]; value: number } {
  const D = m.gain.length;
  const h = x.map((state, l) => {
    let sum = m.bias[l]!;
    for (let d = 0; d < D; d++) sum += m.weight[l * D + d]! * (m.gain[d]! * state[d]! + m.shift[d]!);
    return Math.max(sum, 0) * kept[l]!;
  });
  return { h, value: Math.max(h.reduce((n, s, l) => n + m.mix[l]! * s, 0), 0) * kept[x.length]! };
}

export const learnedMask = (x: Float64Array[][], m: MaskWeights, kept: (i: number) => ArrayLike<number>): number[] => x.map((states, i) => row(states, m, kept(i)).value);

/** Adds to `g` what the loss's slopes `dm` of the mask come to. */
export function learnedMaskBackward(x: Float64Array[][], m: MaskWeights, kept: (i: number) => ArrayLike<number>, dm: number[], g: Record<keyof MaskWeights, Float64Array>): void {
  const D = m.gain.length;
  x.forEach((states, i) => {
    const k = kept(i);
    const { h, value } = row(states, m, k);
    if (value === 0) return;
    const dsum = dm[i]! * k[states.length]!;
    h.forEach((s, l) => {
      g.mix[l]! += dsum * s;
      if (s === 0) return;
      const ds = dsum * m.mix[l]! * k[l]!;
      g.bias[l]! += ds;
      for (let d = 0; d < D; d++) {
        g.weight[l * D + d]! += ds * (m.gain[d]! * states[l]![d]! + m.shift[d]!);
        g.gain[d]! += ds * m.weight[l * D + d]! * states[l]![d]!;
        g.shift[d]! += ds * m.weight[l * D + d]!;
      }
    });
  });
}
