import t from 'tap';
import { fitLogistic, logit, sigmoid, solveSpd } from '../../src/model/judge/glm.js';
import { fitL1 } from '../../src/model/judge/length_control_full.js';
import { near } from '../helpers/near.js';
import { rng } from '../helpers/rng.js';

t.test('L1: the optimum fulfils its own conditions', async (t) => {
  const r = rng(11);
  const n = 200;
  const x = Float64Array.from({ length: n * 4 }, () => r.normal());
  const p = Float64Array.from({ length: n }, (_, i) => sigmoid(2 * x[i * 4]! - 0.1 * x[i * 4 + 1]! + 0.5 * r.normal()));
  for (const c of [0.02, 0.05, 1]) {
    const beta = fitL1({ d: 4, x, p }, c);
    for (let j = 0; j < 4; j++) {
      let g = 0;
      for (let i = 0; i < n; i++) g += c * (sigmoid(beta.reduce((z, b, k) => z + b * x[i * 4 + k]!, 0)) - p[i]!) * x[i * 4 + j]!;
      if (beta[j] === 0) t.ok(Math.abs(g) <= 1 + 1e-9, `coefficient ${j} at C ${c} is 0 with a gradient of ${g}`);
      else near(t, g, -Math.sign(beta[j]!), 1e-8, `gradient of coefficient ${j} at C ${c}`);
    }
  }
  t.ok(fitL1({ d: 4, x, p }, 0.02).some((b) => b === 0), 'a strong penalty sets coefficients to 0');
});

t.test('logistic regression: stationary, weights as repeats, singular columns and separation', async (t) => {
  const r = rng(2);
  const n = 50;
  const x = Float64Array.from({ length: n * 3 }, () => r.normal());
  const p = Float64Array.from({ length: n }, () => r.uniform());
  const w = Float64Array.from({ length: n }, () => r.int(3));
  const beta = fitLogistic({ d: 3, x, p, w });
  for (let j = 0; j < 3; j++) {
    let g = 0;
    for (let i = 0; i < n; i++) g += w[i]! * (sigmoid(beta.reduce((z, b, k) => z + b * x[i * 3 + k]!, 0)) - p[i]!) * x[i * 3 + j]!;
    near(t, g, 0, 1e-9, 'gradient');
  }
  const repeated = Array.from(w).flatMap((k, i) => Array<number>(k).fill(i));
  const again = fitLogistic({ d: 3, x: Float64Array.from(repeated.flatMap((i) => [...x.subarray(i * 3, i * 3 + 3)])), p: Float64Array.from(repeated, (i) => p[i]!) });
  again.forEach((b, j) => near(t, b, beta[j]!, 1e-10, 'weights are repeats'));
  const zero = fitLogistic({ d: 2, x: Float64Array.from([0, 1, 0, 1, 0, 1]), p: Float64Array.from([1, 0.5, 0]) });
  t.equal(zero[0], 0);
  near(t, fitLogistic({ d: 1, x: Float64Array.from([1, 1, 1]), p: Float64Array.from([0.2, 0.9, 0.7]) })[0]!, logit(0.6), 1e-10, 'an intercept alone is the logit of the mean');
  const won = fitLogistic({ d: 1, x: Float64Array.from([1, 1]), p: Float64Array.from([1, 1]) })[0]!;
  t.ok(won > 15 && won < 40, `separated data stay finite: ${won}`);
  near(t, solveSpd(Float64Array.from([4, 2, 2, 3]), Float64Array.from([10, 9]))![1]!, 2, 1e-15, 'Cholesky');
  t.equal(solveSpd(Float64Array.from([1, 2, 2, 1]), Float64Array.from([1, 1])), undefined, 'not positive definite');
});
