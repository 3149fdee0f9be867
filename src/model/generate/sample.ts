import { keyedUniform } from '../data/order.js';

export interface SamplingOptions {
  /** 0: greedy. */
  temperature: number;
  topP: number;
  /** 0: all. */
  topK: number;
  seed: number;
}

/**
 * The next token from a row of logits. Temperature first, then top-k, then top-p (the smallest set reaching p), as transformers orders
 * them. The random number depends on (seed, prompt, position) alone, never on what else is in the batch.
 */
export function sampleToken(logits: Float32Array, o: SamplingOptions, promptIndex: number, position: number): number {
  if (o.temperature === 0) return argmax(logits);
  let top = -Infinity;
  for (const x of logits) top = Math.max(top, x);
  const weights = Float64Array.from(logits, (x) => Math.exp((x - top) / o.temperature));
  const u = keyedUniform(o.seed, promptIndex, position);
  if (o.topK === 0 && o.topP >= 1) return pick(weights, undefined, u);
  let order = Array.from(weights, (_, i) => i).sort((a, b) => weights[b]! - weights[a]! || a - b);
  if (o.topK > 0) order = order.slice(0, o.topK);
  if (o.topP < 1) {
    const total = order.reduce((n, i) => n + weights[i]!, 0);
    let sum = 0;
    let keep = 0;
    while (keep < order.length && sum < o.topP * total) sum += weights[order[keep++]!]!;
    order = order.slice(0, Math.max(1, keep));
  }
  return pick(weights, order, u);
}

export function argmax(x: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < x.length; i++) if (x[i]! > x[best]!) best = i;
  return best;
}

/** Inverse of the cumulative weights over `order` (all in index order by default). */
function pick(weights: Float64Array, order: number[] | undefined, u: number): number {
  const n = order?.length ?? weights.length;
  let total = 0;
  for (let i = 0; i < n; i++) total += weights[order ? order[i]! : i]!;
  let rest = u * total;
  for (let i = 0; i < n; i++) {
    const token = order ? order[i]! : i;
    rest -= weights[token]!;
    if (rest < 0) return token;
  }
  return order ? order[n - 1]! : n - 1;
}
