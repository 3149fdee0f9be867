/** What a query row may see, by definition: keys of its prompt and earlier rows of its own branch. */
export type Sees = (i: number, j: number) => boolean;
export interface AttentionShape { N: number; H: number; G: number; C: number; scale: number; softCap: number; sees: Sees }

/** f64 twin of attention: two-pass softmax in plain loops. q [N, H*C], k, v [N, G*C] → o, lse. */
export function attention(q: ArrayLike<number>, k: ArrayLike<number>, v: ArrayLike<number>, s: AttentionShape): { o: Float64Array; lse: Float64Array; p: (i: number, h: number) => Map<number, number> } {
  const { N, H, G, C } = s;
  const o = new Float64Array(N * H * C);
  const lse = new Float64Array(N * H);
  const p = (i: number, h: number): Map<number, number> => {
    const g = Math.floor(h / (H / G));
    const scores = new Map<number, number>();
    for (let j = 0; j < N; j++) {
      if (!s.sees(i, j)) continue;
      let x = 0;
      for (let c = 0; c < C; c++) x += q[(i * H + h) * C + c]! * k[(j * G + g) * C + c]!;
      x *= s.scale;
      scores.set(j, s.softCap > 0 ? s.softCap * Math.tanh(x / s.softCap) : x);
    }
    const top = Math.max(...scores.values());
    let total = 0;
    for (const x of scores.values()) total += Math.exp(x - top);
    lse[i * H + h] = top + Math.log(total);
    return new Map([...scores].map(([j, x]) => [j, Math.exp(x - top) / total]));
  };
  for (let i = 0; i < N; i++) for (let h = 0; h < H; h++) {
    const g = Math.floor(h / (H / G));
    for (const [j, w] of p(i, h)) for (let c = 0; c < C; c++) o[(i * H + h) * C + c]! += w * v[(j * G + g) * C + c]!;
  }
  return { o, lse, p };
}

/** Its backward. */
export function attentionBackward(q: ArrayLike<number>, k: ArrayLike<number>, v: ArrayLike<number>, dout: ArrayLike<number>, s: AttentionShape): { dq: Float64Array; dk: Float64Array; dv: Float64Array } {
  const { N, H, G, C } = s;
  const { o, p } = attention(q, k, v, s);
  const [dq, dk, dv] = [new Float64Array(N * H * C), new Float64Array(N * G * C), new Float64Array(N * G * C)];
  for (let i = 0; i < N; i++) for (let h = 0; h < H; h++) {
    const g = Math.floor(h / (H / G));
    const qi = (i * H + h) * C;
    let delta = 0;
    for (let c = 0; c < C; c++) delta += o[qi + c]! * dout[qi + c]!;
    for (const [j, w] of p(i, h)) {
      const kj = (j * G + g) * C;
      let dp = 0;
      let x = 0;
      for (let c = 0; c < C; c++) {
        dp += dout[qi + c]! * v[kj + c]!;
        x += q[qi + c]! * k[kj + c]!;
      }
      const slope = s.softCap > 0 ? 1 - Math.tanh((x * s.scale) / s.softCap) ** 2 : 1;
      const ds = w * (dp - delta) * slope * s.scale;
      for (let c = 0; c < C; c++) {
        dv[kj + c]! += w * dout[qi + c]!;
        dq[qi + c]! += ds * k[kj + c]!;
        dk[kj + c]! += ds * q[qi + c]!;
      }
    }
  }
  return { dq, dk, dv };
}
