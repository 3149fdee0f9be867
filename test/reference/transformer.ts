import type { ModelSpec, Rotary } from '../../src/model/families/spec.js';
import type { Gate } from '../../src/gpu/ops/swiglu.js';
import { gelu, layerNorm } from './encoder.js';

/** Weights by checkpoint name, f64 or f32. */
export type Weights = Record<string, ArrayLike<number>>;

const matvec = (w: ArrayLike<number>, x: Float64Array, out: number): Float64Array => {
  const y = new Float64Array(out);
  for (let o = 0; o < out; o++) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += w[o * x.length + i]! * x[i]!;
    y[o] = sum;
  }
  return y;
};

const norm = (x: Float64Array, gain: ArrayLike<number>, { eps, offset }: ModelSpec['block']['norm'], bias?: ArrayLike<number>): Float64Array => {
  if (bias) return layerNorm(x, undefined, gain, bias, eps);
  let squares = 0;
  for (const v of x) squares += v * v;
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((v, d) => v * scale * (offset + gain[d]!));
};

/** The first R of every head, turned; `tokens` in the whole document. */
const rotate = (x: Float64Array, heads: number, C: number, position: number, rotary: Rotary | undefined, tokens: number): Float64Array => {
  if (!rotary) return x;
  const frequencies = rotary.long && tokens > rotary.long.from ? rotary.long.frequencies : rotary.frequencies;
  const half = frequencies.length;
  const y = Float64Array.from(x);
  for (let h = 0; h < heads; h++) {
    for (let c = 0; c < half; c++) {
      const angle = position * frequencies[c]!;
      const [a, b] = [x[h * C + c]! * rotary.scale, x[h * C + half + c]! * rotary.scale];
      y[h * C + c] = a * Math.cos(angle) - b * Math.sin(angle);
      y[h * C + half + c] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return y;
};

const capped = (z: number, cap: number): number => (cap > 0 ? cap * Math.tanh(z / cap) : z);
const activated = (g: number, kind: Gate): number =>
  kind === 'gelu' ? gelu(g) : kind === 'silu' ? g / (1 + Math.exp(-g)) : 0.5 * g * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3)));

/**
 * f64 twin of the whole decoder on ONE plain sequence (no packing, no sharing): the final-norm state of every position. Weights by parameter name.
 * Plain loops, causal attention with a two-pass softmax; shares no code with the kernels.
 */
export function hiddenStates(spec: ModelSpec, w: Weights, ids: ArrayLike<number>, tokens = ids.length, seen?: (l: number, x: Float64Array[], mid: Float64Array[], out: Float64Array[]) => void): Float64Array[] {
  const { D, H, G, C, F, V, names, block } = spec;
  const embed = w[names.embed]!;
  if (Array.from(ids).some((id) => id >= V)) throw new Error('id outside the vocabulary');
  const learned = names.positions ? w[names.positions]! : undefined;
  let x = Array.from(ids, (id, t) => Float64Array.from({ length: D }, (_, d) => spec.embedScale * embed[id * D + d]! + (learned?.[t * D + d] ?? 0)));
  const biased = (y: Float64Array, bias: string | undefined): Float64Array => (bias ? y.map((v, i) => v + w[bias]![i]!) : y);
  const optional = (name: string | undefined): ArrayLike<number> | undefined => (name ? w[name] : undefined);
  names.layers.forEach((layer, l) => {
    const h = x.map((row) => norm(row, w[layer.norm1]!, block.norm, optional(layer.norm1Bias)));
    const rotary = block.position.rotary[block.position.of[l]!];
    const project = (row: Float64Array, weight: string, bias: string | undefined, gain: string | undefined, heads: number): Float64Array => {
      const y = biased(matvec(w[weight]!, row, heads * C), bias);
      if (gain) for (let n = 0; n < heads; n++) y.set(norm(y.slice(n * C, (n + 1) * C), w[gain]!, block.norm), n * C);
      return y;
    };
    const q = h.map((row, t) => rotate(project(row, layer.q, layer.qBias, layer.qNorm, H), H, C, t, rotary, tokens));
    const k = h.map((row, t) => rotate(project(row, layer.k, layer.kBias, layer.kNorm, G), G, C, t, rotary, tokens));
    const v = h.map((row) => project(row, layer.v, layer.vBias, undefined, G));
    const window = block.attention.windows[l]!;
    const mid = x.map((row, t) => {
      const o = new Float64Array(H * C);
      const from = window > 0 ? Math.max(0, t - window + 1) : 0;
      for (let head = 0; head < H; head++) {
        const g = Math.floor(head / (H / G));
        const scores = Array.from({ length: t + 1 - from }, (_, j) => {
          let s = 0;
          for (let c = 0; c < C; c++) s += q[t]![head * C + c]! * k[from + j]![g * C + c]!;
          return capped(s * block.attention.scale, block.attention.softCap);
        });
        const top = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - top));
        const total = weights.reduce((a, b) => a + b, 0);
        weights.forEach((p, j) => {
          for (let c = 0; c < C; c++) o[head * C + c]! += (p / total) * v[from + j]![g * C + c]!;
        });
      }
      let add = biased(matvec(w[layer.o]!, o, D), layer.oBias);
      if (layer.postNorm1) add = norm(add, w[layer.postNorm1]!, block.norm);
      return row.map((value, d) => value + add[d]!);
    });
    const entering = x;
    x = mid.map((row, t) => {
      const n = norm(block.parallel ? x[t]! : row, w[layer.norm2]!, block.norm, optional(layer.norm2Bias));
      const up = biased(matvec(w[layer.up]!, n, F), layer.upBias);
      const product = layer.gate ? matvec(w[layer.gate]!, n, F).map((g, f) => activated(g, block.mlp.gate) * up[f]!) : up.map((g) => activated(g, block.mlp.gate));
      let add = biased(matvec(w[layer.down]!, product, D), layer.downBias);
      if (layer.postNorm2) add = norm(add, w[layer.postNorm2]!, block.norm);
      return row.map((value, d) => value + add[d]!);
    });
    seen?.(l, entering, mid, x);
  });
  return x.map((row) => norm(row, w[names.norm]!, block.norm, optional(names.normBias)));
}

/** Logits [V] at one position. */
export function logits(spec: ModelSpec, w: Weights, hidden: Float64Array): Float64Array {
  return matvec(w[spec.tied ? spec.names.embed : spec.names.head]!, hidden, spec.V).map((z) => capped(z, spec.logitSoftCap));
}

export const logSumExp = (f: Float64Array): number => {
  const top = f.reduce((a, b) => Math.max(a, b), -Infinity);
  return top + Math.log(f.reduce((a, b) => a + Math.exp(b - top), 0));
};

/** Per response token KL(ref‖policy), nats. */
export function responseKl(spec: ModelSpec, policy: Weights, reference: Weights, prompt: number[], response: number[]): number[] {
  const [p, r] = [policy, reference].map((w) => hiddenStates(spec, w, [...prompt, ...response]).map((h) => logits(spec, w, h))) as [Float64Array[], Float64Array[]];
  return response.map((_, i) => {
    const [f, g] = [p[prompt.length - 1 + i]!, r[prompt.length - 1 + i]!];
    const [zf, zg] = [logSumExp(f), logSumExp(g)];
    return g.reduce((n, x, j) => n + Math.exp(x - zg) * (x - zg - (f[j]! - zf)), 0);
  });
}

/** Log-probability of each token of `response` after `prompt`. */
export function responseLogps(spec: ModelSpec, w: Weights, prompt: number[], response: number[]): number[] {
  const states = hiddenStates(spec, w, [...prompt, ...response]);
  return response.map((token, i) => {
    const f = logits(spec, w, states[prompt.length - 1 + i]!);
    return f[token]! - logSumExp(f);
  });
}

/** Logits [V] that each token of `response` is predicted by. */
export function responseLogits(spec: ModelSpec, w: Weights, prompt: number[], response: number[]): number[][] {
  const states = hiddenStates(spec, w, [...prompt, ...response]);
  return response.map((_, i) => [...logits(spec, w, states[prompt.length - 1 + i]!)]);
}

/** MaPO's mask of each response token (SparsePO, section 3): every layer's attention, MLP and residual stream, means over features, min-max over the response, averaged. */
export function mapoMask(spec: ModelSpec, w: Weights, prompt: number[], response: number[]): number[] {
  const mask = response.map(() => 0);
  const mean = (x: Float64Array): number => x.reduce((a, b) => a + b, 0) / x.length;
  hiddenStates(spec, w, [...prompt, ...response], undefined, (_, x, mid, out) => {
    const kinds = [mid.map((row, t) => row.map((v, d) => v - x[t]![d]!)), out.map((row, t) => row.map((v, d) => v - mid[t]![d]!)), out];
    for (const kind of kinds) {
      const site = response.map((_, i) => mean(kind[prompt.length - 1 + i]!));
      const [least, most] = [Math.min(...site), Math.max(...site)];
      site.forEach((v, i) => (mask[i]! += (most > least ? (v - least) / (most - least) : 1) / (3 * spec.L)));
    }
  });
  return mask;
}
