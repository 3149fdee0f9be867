import { erf, gelu as geluErf } from './encoder.js';

/** f64 twins of the element-wise and indexing ops. */
const silu = (g: number): number => g / (1 + Math.exp(-g));

const gelu = (g: number): number => 0.5 * g * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3)));

const geluSlope = (g: number): number => {
  const u = Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3);
  return 0.5 * (1 + Math.tanh(u)) + (0.5 * g * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * g * g)) / Math.cosh(u) ** 2;
};
/** Activations and their derivatives. */
export const act = {
  gelu_tanh: { value: gelu, slope: geluSlope },
  gelu: { value: geluErf, slope: (g: number): number => 0.5 * (1 + erf(g / Math.SQRT2)) + (g * Math.exp((-g * g) / 2)) / Math.sqrt(2 * Math.PI) },
} as const;
type Act = keyof typeof act;

/** h = act(gate)·up and its backward. */
export const geglu = (gate: ArrayLike<number>, up: ArrayLike<number>, kind: Act = 'gelu_tanh'): Float64Array => Float64Array.from(gate, (g, i) => act[kind].value(g) * up[i]!);
export const gegluBackward = (gate: ArrayLike<number>, up: ArrayLike<number>, dh: ArrayLike<number>, kind: Act = 'gelu_tanh'): { dgate: Float64Array; dup: Float64Array } =>
  ({ dgate: Float64Array.from(gate, (g, i) => dh[i]! * up[i]! * act[kind].slope(g)), dup: Float64Array.from(gate, (g, i) => dh[i]! * act[kind].value(g)) });

/** y + b row by row, and the column sums that are b's gradient. */
export const addBias = (y: ArrayLike<number>, b: ArrayLike<number>): Float64Array => Float64Array.from(y, (v, i) => v + b[i % b.length]!);
export function addBiasBackward(dy: ArrayLike<number>, D: number): Float64Array {
  const db = new Float64Array(D);
  for (let i = 0; i < dy.length; i++) db[i % D]! += dy[i]!;
  return db;
}

/** α·x + (1 − α)·y. */
export const mix = (x: ArrayLike<number>, y: ArrayLike<number>, alpha: number): Float64Array => Float64Array.from(x, (v, i) => alpha * v + (1 - alpha) * y[i]!);

export const scale = (x: ArrayLike<number>, factor: number): Float64Array => Float64Array.from(x, (v) => factor * v);

/** 32 random bits of a counter; twin of lib/mix32. */
export const mix32 = (z: number): number => {
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return (z ^ (z >>> 16)) >>> 0;
};
/** x / (1 − p) where kept, else 0; x [keys, I]. */
export const dropout = (x: ArrayLike<number>, keys: ArrayLike<number>, stepKey: number, matrix: number, p: number): Float64Array => {
  const I = x.length / keys.length;
  return Float64Array.from(x, (v, t) => {
    const row = mix32((keys[Math.floor(t / I)]! ^ mix32((stepKey + Math.imul(matrix, 0x9e3779b1)) >>> 0)) >>> 0);
    const u = (mix32((row + Math.imul(t % I, 0x9e3779b1)) >>> 0) >>> 8) / 2 ** 24;
    return u >= Math.fround(p) ? v / (1 - Math.fround(p)) : 0;
  });
};

export const softCap = (f: ArrayLike<number>, cap: number): Float64Array => Float64Array.from(f, (z) => cap * Math.tanh(z / cap));

export const swiglu = (gate: ArrayLike<number>, up: ArrayLike<number>): Float64Array => Float64Array.from(gate, (g, i) => silu(g) * up[i]!);

export function swigluBackward(gate: ArrayLike<number>, up: ArrayLike<number>, dh: ArrayLike<number>): { dgate: Float64Array; dup: Float64Array } {
  const slope = (g: number): number => { const s = 1 / (1 + Math.exp(-g)); return s + g * s * (1 - s); };
  return { dgate: Float64Array.from(gate, (g, i) => dh[i]! * up[i]! * slope(g)), dup: Float64Array.from(gate, (g, i) => dh[i]! * silu(g)) };
}

/** Pairs (c, c + R/2) of each head's first R, times `scale`. */
export function rope(x: ArrayLike<number>, position: ArrayLike<number>, heads: number, C: number, theta: number, R = C, scale = 1): Float64Array {
  const y = Float64Array.from(x);
  for (let n = 0; n < position.length; n++) for (let h = 0; h < heads; h++) for (let c = 0; c < R / 2; c++) {
    const angle = position[n]! / theta ** ((2 * c) / R);
    const a = (n * heads + h) * C + c;
    const b = a + R / 2;
    y[a] = scale * (x[a]! * Math.cos(angle) - x[b]! * Math.sin(angle));
    y[b] = scale * (x[b]! * Math.cos(angle) + x[a]! * Math.sin(angle));
  }
  return y;
}

/** Rows of a table by index; also what gather_rows does. */
export function embed(table: ArrayLike<number>, ids: ArrayLike<number>, D: number): Float64Array {
  return Float64Array.from({ length: ids.length * D }, (_, i) => table[ids[Math.floor(i / D)]! * D + (i % D)]!);
}

export function embedBackward(dx: ArrayLike<number>, ids: ArrayLike<number>, rows: number, D: number): Float64Array {
  const d = new Float64Array(rows * D);
  for (let i = 0; i < dx.length; i++) d[ids[Math.floor(i / D)]! * D + (i % D)]! += dx[i]!;
  return d;
}

/** torch.optim.AdamW with clip_grad_norm_ before it. */
export function adamw(start: ArrayLike<number>, o: { lr: number; beta1: number; beta2: number; epsilon: number; weightDecay: number; maxNorm: number }): { value: Float64Array; t: number; norm: number; clip: number; step(g: ArrayLike<number>): void } {
  const value = Float64Array.from(start);
  const [m, v] = [new Float64Array(value.length), new Float64Array(value.length)];
  const self = {
    value, t: 0, norm: 0, clip: 1,
    step(g: ArrayLike<number>): void {
      self.t++;
      self.norm = Math.sqrt(Array.from(g).reduce((a, x) => a + x * x, 0));
      self.clip = Math.min(1, o.maxNorm / (self.norm + 1e-6));
      for (let i = 0; i < value.length; i++) {
        const x = g[i]! * self.clip;
        value[i]! *= 1 - o.lr * o.weightDecay;
        m[i] = o.beta1 * m[i]! + (1 - o.beta1) * x;
        v[i] = o.beta2 * v[i]! + (1 - o.beta2) * x * x;
        value[i]! -= ((o.lr / (1 - o.beta1 ** self.t)) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(1 - o.beta2 ** self.t) + o.epsilon);
      }
    },
  };
  return self;
}
