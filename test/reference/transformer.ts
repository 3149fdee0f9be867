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

const norm = (x: Float64Array, gain: ArrayLike<number>, eps: number): Float64Array => {
  let squares = 0;
  for (const v of x) squares += v * v;
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((v, d) => v * scale * gain[d]!);
};

const rotate = (x: Float64Array, heads: number, C: number, position: number, theta: number): Float64Array => {
  const y = Float64Array.from(x);
  for (let h = 0; h < heads; h++) {
    for (let c = 0; c < C / 2; c++) {
      const angle = position / theta ** ((2 * c) / C);
      const [a, b] = [x[h * C + c]!, x[h * C + C / 2 + c]!];
      y[h * C + c] = a * Math.cos(angle) - b * Math.sin(angle);
      y[h * C + C / 2 + c] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return y;
};

/**
 * f64 twin of the whole decoder on ONE plain sequence (no packing, no sharing): the final-norm state of every position.
 * Plain loops, causal attention with a two-pass softmax; shares no code with the kernels.
 */
export function hiddenStates(spec: ModelSpec, w: Weights, ids: ArrayLike<number>): Float64Array[] {
  const { D, H, G, C, F, V, names, block } = spec;
  const embed = w[names.embed]!;
  if (Array.from(ids).some((id) => id >= V)) throw new Error('id outside the vocabulary');
  let x = Array.from(ids, (id) => Float64Array.from({ length: D }, (_, d) => embed[id * D + d]!));
  for (const layer of names.layers) {
    const h = x.map((row) => norm(row, w[layer.norm1]!, block.norm.eps));
    const q = h.map((row, t) => rotate(matvec(w[layer.q]!, row, H * C), H, C, t, block.position.theta));
    const k = h.map((row, t) => rotate(matvec(w[layer.k]!, row, G * C), G, C, t, block.position.theta));
    const v = h.map((row) => matvec(w[layer.v]!, row, G * C));
    const mid = x.map((row, t) => {
      const o = new Float64Array(H * C);
      for (let head = 0; head < H; head++) {
        const g = Math.floor(head / (H / G));
        const scores = Array.from({ length: t + 1 }, (_, j) => {
          let s = 0;
          for (let c = 0; c < C; c++) s += q[t]![head * C + c]! * k[j]![g * C + c]!;
          return s * block.attention.scale;
        });
        const top = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - top));
        const total = weights.reduce((a, b) => a + b, 0);
        weights.forEach((p, j) => {
          for (let c = 0; c < C; c++) o[head * C + c]! += (p / total) * v[j]![g * C + c]!;
        });
      }
      const add = matvec(w[layer.o]!, o, D);
      return row.map((value, d) => value + add[d]!);
    });
    x = mid.map((row) => {
      const n = norm(row, w[layer.norm2]!, block.norm.eps);
      const gate = matvec(w[layer.gate]!, n, F);
      const up = matvec(w[layer.up]!, n, F);
      const add = matvec(w[layer.down]!, gate.map((g, f) => (g / (1 + Math.exp(-g))) * up[f]!), D);
      return row.map((value, d) => value + add[d]!);
    });
  }
  return x.map((row) => norm(row, w[names.norm]!, block.norm.eps));
}

/** Logits [V] at one position. */
export function logits(spec: ModelSpec, w: Weights, hidden: Float64Array): Float64Array {
  return matvec(w[spec.tied ? spec.names.embed : spec.names.head]!, hidden, spec.V);
}

export const logSumExp = (f: Float64Array): number => {
  const top = f.reduce((a, b) => Math.max(a, b), -Infinity);
  return top + Math.log(f.reduce((a, b) => a + Math.exp(b - top), 0));
};

/** Log-probability of each token of `response` after `prompt`. */
/** Per response token KL(ref‖policy), nats. */
export function responseKl(spec: ModelSpec, policy: Weights, reference: Weights, prompt: number[], response: number[]): number[] {
  const [p, r] = [policy, reference].map((w) => hiddenStates(spec, w, [...prompt, ...response]).map((h) => logits(spec, w, h))) as [Float64Array[], Float64Array[]];
  return response.map((_, i) => {
    const [f, g] = [p[prompt.length - 1 + i]!, r[prompt.length - 1 + i]!];
    const [zf, zg] = [logSumExp(f), logSumExp(g)];
    return g.reduce((n, x, j) => n + Math.exp(x - zg) * (x - zg - (f[j]! - zf)), 0);
  });
}

export function responseLogps(spec: ModelSpec, w: Weights, prompt: number[], response: number[]): number[] {
  const states = hiddenStates(spec, w, [...prompt, ...response]);
  return response.map((token, i) => {
    const f = logits(spec, w, states[prompt.length - 1 + i]!);
    return f[token]! - logSumExp(f);
  });
}
