import type { Test } from 'tap';

/**
 * Tolerance classes, as (absolute share of `scale`, relative). `scale` is what rounding is relative to where the
 * result itself may cancel to nothing: the sum of magnitudes, or the largest magnitude of the tensor.
 */
export type Tolerance = { atol: number; rtol: number; name: string };

export const exact: Tolerance = { atol: 0, rtol: 0, name: 'exact' };
/** A handful of f32 operations per element. */
export const elementwise: Tolerance = { atol: 2e-6, rtol: 2e-6, name: 'elementwise' };
/** exp, log, sin and friends of the driver. */
export const transcendental: Tolerance = { atol: 1e-5, rtol: 1e-5, name: 'transcendental' };
/** A sum of n products: error grows with the square root of n, relative to the largest magnitude. */
export const reduce = (n: number): Tolerance => ({ atol: 1e-7 * Math.sqrt(n) + 5e-7, rtol: 2e-6, name: `reduce(${n})` });
/** Logits and log-probs of a whole model. */
export const model: Tolerance = { atol: 1e-4, rtol: 1e-4, name: 'model' };

/**
 * Compares with an f64 reference: |got − want| <= atol·max|want| + rtol·|want|. A non-finite value on one side
 * only always fails; nothing is skipped. On failure: count, worst index with coordinates, both values, share of the allowance.
 */
export function close(
  t: Test,
  name: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: Tolerance,
  shape: number[] = [want.length],
): boolean {
  if (got.length !== want.length) return t.fail(`${name}: ${got.length} values, expected ${want.length}`);
  let scale = 0;
  for (let i = 0; i < want.length; i++) if (Number.isFinite(want[i]!)) scale = Math.max(scale, Math.abs(want[i]!));
  let bad = 0;
  let worst = -1;
  let worstShare = -1;
  for (let i = 0; i < want.length; i++) {
    const g = got[i]!;
    const w = want[i]!;
    const allowed = tolerance.atol * scale + tolerance.rtol * Math.abs(w);
    const off = Math.abs(g - w);
    const share = Object.is(g, w) || g === w ? 0 : Number.isFinite(g) && Number.isFinite(w) ? (allowed > 0 ? off / allowed : Infinity) : Infinity;
    if (share > 1) bad++;
    if (share > worstShare) {
      worstShare = share;
      worst = i;
    }
  }
  const at: number[] = [];
  for (let rest = worst, k = shape.length - 1; k >= 0; k--) {
    at.unshift(rest % shape[k]!);
    rest = Math.floor(rest / shape[k]!);
  }
  const report = `${name} (${tolerance.name}): ${bad} of ${want.length} off; worst at [${at.join(', ')}] got ${got[worst]} want ${want[worst]}, ${(worstShare * 100).toFixed(1)} % of the allowance`;
  return bad === 0 ? t.pass(report) : t.fail(report);
}
