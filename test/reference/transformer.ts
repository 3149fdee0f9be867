import type { ModelSpec } from '../../src/model/families/spec.js';

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

const norm = (x: Float64Array, gain: ArrayLike<number>, { eps, offset }: ModelSpec['block']['norm']): Float64Array => {
  let squares = 0;
  for (const v of x) squares += v * v;
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((v, d) => v * scale * (offset + gain[d]!));
};

const rotate = (x: Float64Array, heads: number, C: number, position: number, frequencies: number[]): Float64Array => {
  const y = Float64Array.from(x);
  for (let h = 0; h < heads; h++) {
    for (let c = 0; c < C / 2; c++) {
      const angle = position * frequencies[c]!;
      const [a, b] = [x[h * C + c]!, x[h * C + C / 2 + c]!];
      y[h * C + c] = a * Math.cos(angle) - b * Math.sin(angle);
      y[h * C + C / 2 + c] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return y;
};

const capped = (z: number, cap: number): number => (cap > 0 ? cap * Math.tanh(z / cap) : z);
const gated = (g: number, kind: 'silu' | 'gelu_tanh'): number =>
  kind === 'silu' ? g / (1 + Math.exp(-g)) : 0.5 * g * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3)));

/**
 * f64 twin of the whole decoder on ONE plain sequence (no packing, no sharing): the final-norm state of every position.
 * Plain loops, causal attention with a two-pass softmax; shares no code with the kernels.
 */
export function hiddenStates(spec: ModelSpec, w: Weights, ids: ArrayLike<number>): Float64Array[] {
  const { D, H, G, C, F, V, names, block } = spec;
  const embed = w[names.embed]!;
  if (Array.from(ids).some((id) => id >= V)) throw new Error('id outside the vocabulary');
  let x = Array.from(ids, (id) => Float64Array.from({ length: D }, (_, d) => spec.embedScale * embed[id * D + d]!));
  names.layers.forEach((layer, l) => {
    const h = x.map((row) => norm(row, w[layer.norm1]!, block.norm));
    const project = (row: Float64Array, weight: string, bias: string | undefined, gain: string | undefined, heads: number): Float64Array => {
      let y = matvec(w[weight]!, row, heads * C);
      if (bias) y = y.map((v, i) => v + w[bias]![i]!);
      if (gain) for (let n = 0; n < heads; n++) y.set(norm(y.slice(n * C, (n + 1) * C), w[gain]!, block.norm), n * C);
      return y;
    };
    const q = h.map((row, t) => rotate(project(row, layer.q, layer.qBias, layer.qNorm, H), H, C, t, block.position.frequencies));
    const k = h.map((row, t) => rotate(project(row, layer.k, layer.kBias, layer.kNorm, G), G, C, t, block.position.frequencies));
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
      let add = matvec(w[layer.o]!, o, D);
      if (layer.postNorm1) add = norm(add, w[layer.postNorm1]!, block.norm);
      return row.map((value, d) => value + add[d]!);
    });
    x = mid.map((row) => {
      const n = norm(row, w[layer.norm2]!, block.norm);
      const gate = matvec(w[layer.gate]!, n, F);
      const up = matvec(w[layer.up]!, n, F);
      let add = matvec(w[layer.down]!, gate.map((g, f) => gated(g, block.mlp.gate) * up[f]!), D);
      if (layer.postNorm2) add = norm(add, w[layer.postNorm2]!, block.norm);
      return row.map((value, d) => value + add[d]!);
    });
  });
  return x.map((row) => norm(row, w[names.norm]!, block.norm));
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
