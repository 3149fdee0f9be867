/** f64 twin of the head and the ε-criterion on whole logits (losses.md 1.2 to 1.4): log-softmax of the mixtures themselves, no ψ. */
const logSumExp = (f: number[]): number => {
  const top = Math.max(...f);
  return top + Math.log(f.reduce((n, x) => n + Math.exp(x - top), 0));
};

export interface TokenTwin { logp: number; refLogp: number; deltaPlus: number; deltaMinus: number; klPolicyRef: number; klRefPolicy: number; entropy: number; lse: number; logSquares: number; refEntropy: number }

export function token(f: number[], r: number[], y: number, epsilon: number): TokenTwin {
  const lp = (x: number[]): number => x[y]! - logSumExp(x);
  const mixed = (s: number): number[] => f.map((x, j) => (1 + s) * x - s * r[j]!);
  const [lf, lr] = [logSumExp(f), logSumExp(r)];
  const p = f.map((x) => Math.exp(x - lf));
  const q = r.map((x) => Math.exp(x - lr));
  const d = f.map((x, j) => x - lf - (r[j]! - lr));
  return {
    logp: lp(f), refLogp: lp(r), deltaPlus: lp(mixed(epsilon)) - lp(f), deltaMinus: lp(mixed(-epsilon)) - lp(f),
    klPolicyRef: p.reduce((n, x, j) => n + x * d[j]!, 0), klRefPolicy: q.reduce((n, x, j) => n - x * d[j]!, 0),
    entropy: -p.reduce((n, x, j) => n + x * (f[j]! - lf), 0), lse: lf,
    logSquares: Math.log(p.reduce((n, x) => n + x * x, 0)), refEntropy: -q.reduce((n, x, j) => n + x * (r[j]! - lr), 0),
  };
}

/** ∂/∂f of c·logp + k·KL(ref‖policy) (losses.md 0). */
export function logitGradient(f: number[], r: number[], y: number, c: number, k: number): number[] {
  const [lf, lr] = [logSumExp(f), logSumExp(r)];
  return f.map((x, j) => c * ((j === y ? 1 : 0) - Math.exp(x - lf)) + k * (Math.exp(x - lf) - Math.exp(r[j]! - lr)));
}

/**
 * How far each entry of `logitGradient` may be off where the backward pass reads f - top as f16: |f - top| <= |f - LSE| is off by 2^-11 of itself, and so is e^(f - LSE) of
 * itself; with a soft cap its slope moves too. `refKept`: the reference's logits likewise.
 */
export function keptError(f: number[], r: number[], y: number, c: number, k: number, o: { cap: number; refKept: boolean }): number[] {
  const [lf, lr] = [logSumExp(f), logSumExp(r)];
  const off = (d: number): number => Math.abs(d) * 2 ** -11 + 2 ** -24;
  const gradient = logitGradient(f, r, y, c, k);
  return f.map((x, j) => {
    const [p, q] = [Math.exp(x - lf), Math.exp(r[j]! - lr)];
    const slope = o.cap > 0 ? 1 - (x / o.cap) ** 2 : 1;
    const moved = o.cap > 0 ? (2 * Math.abs(x) * off(x - lf)) / o.cap ** 2 : 0;
    return slope * (Math.abs(k - c) * p * off(x - lf) + (o.refKept ? Math.abs(k) * q * off(r[j]! - lr) : 0)) + moved * Math.abs(gradient[j]!);
  });
}
