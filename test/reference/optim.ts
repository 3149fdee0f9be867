import { mix32 } from './small_ops.js';

/** f64 twins of the optimisers, on one tensor; gradients come clipped. t counts from 1. */
export interface Twin {
  value: Float64Array;
  step(g: ArrayLike<number>): void;
}

const nearest = (map: Float32Array, x: number): number => {
  let best = 0;
  for (let i = 1; i < map.length; i++) if (Math.abs(map[i]! - x) < Math.abs(map[best]! - x)) best = i;
  return best;
};

/** AdamW on moments that are map[code] · (max of its 256), codes those of the nearest value. */
export function adamw8bit(start: ArrayLike<number>, o: { lr: number; beta1: number; beta2: number; epsilon: number; weightDecay: number }, maps: { signed: Float32Array; unsigned: Float32Array }): Twin & { m: Float64Array; v: Float64Array } {
  const value = Float64Array.from(start);
  const [m, v] = [new Float64Array(value.length), new Float64Array(value.length)];
  let t = 0;
  const quantise = (x: Float64Array, map: Float32Array): void => {
    for (let from = 0; from < x.length; from += 256) {
      const block = x.subarray(from, from + 256);
      const top = block.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      if (top > 0) block.forEach((b, i) => (block[i] = map[nearest(map, b / top)]! * top));
    }
  };
  return {
    value, m, v,
    step(g) {
      t++;
      for (let i = 0; i < value.length; i++) {
        m[i] = o.beta1 * m[i]! + (1 - o.beta1) * g[i]!;
        v[i] = o.beta2 * v[i]! + (1 - o.beta2) * g[i]! ** 2;
        value[i]! *= 1 - o.lr * o.weightDecay;
        value[i]! -= ((o.lr / (1 - o.beta1 ** t)) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(1 - o.beta2 ** t) + o.epsilon);
      }
      quantise(m, maps.signed);
      quantise(v, maps.unsigned);
    },
  };
}

/** Adafactor of a matrix [n / width, width], or of a vector (width 0). */
export function adafactor(start: ArrayLike<number>, width: number, o: { lr: number; weightDecay: number }): Twin {
  const value = Float64Array.from(start);
  const N = width > 0 ? value.length / width : 0;
  const [row, column, v] = [new Float64Array(N), new Float64Array(width), new Float64Array(width > 0 ? 0 : value.length)];
  let t = 0;
  return {
    value,
    step(g) {
      const s = ++t ** -0.8;
      const u = new Float64Array(value.length);
      if (width > 0) {
        const square = (n: number, i: number): number => g[n * width + i]! ** 2 + 1e-30;
        for (let n = 0; n < N; n++) row[n] = (1 - s) * row[n]! + (s * Array.from({ length: width }, (_, i) => square(n, i)).reduce((a, b) => a + b)) / width;
        for (let i = 0; i < width; i++) column[i] = (1 - s) * column[i]! + (s * Array.from({ length: N }, (_, n) => square(n, i)).reduce((a, b) => a + b)) / N;
        const mean = row.reduce((a, b) => a + b) / N;
        u.forEach((_, k) => (u[k] = g[k]! / Math.sqrt((row[Math.floor(k / width)]! / mean) * column[k % width]!)));
      } else {
        v.forEach((old, k) => (v[k] = (1 - s) * old + s * (g[k]! ** 2 + 1e-30)));
        u.forEach((_, k) => (u[k] = g[k]! / Math.sqrt(v[k]!)));
      }
      const rms = Math.sqrt(u.reduce((a, x) => a + x * x, 0) / u.length);
      value.forEach((x, k) => (value[k] = x * (1 - o.lr * o.weightDecay) - (o.lr * u[k]!) / Math.max(1, rms)));
    },
  };
}

export function sgd(start: ArrayLike<number>, o: { lr: number; weightDecay: number; momentum: number }): Twin {
  const value = Float64Array.from(start);
  const buf = new Float64Array(value.length);
  return {
    value,
    step(g) {
      value.forEach((x, k) => {
        buf[k] = o.momentum * buf[k]! + g[k]! + o.weightDecay * x;
        value[k] = x - o.lr * buf[k]!;
      });
    },
  };
}

/** x as bf16 bits, rounded stochastically with the 16 random bits of (stepKey, tensor, i). */
export function stochasticBf16(x: number, stepKey: number, tensor: number, i: number): number {
  const word = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  const random = mix32((mix32((stepKey ^ mix32(tensor)) >>> 0) + Math.imul(i, 0x9e3779b1)) >>> 0) & 0xffff;
  return ((word + (Number.isFinite(x) ? random : 0)) >>> 16) & 0xffff;
}
