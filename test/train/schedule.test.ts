import t from 'tap';
import { learningRate, stepsOrShare, warmupSteps, type ScheduleName } from '../../src/model/train/schedule.js';

const at = (name: ScheduleName, step: number, extra = {}): number =>
  learningRate({ name, learningRate: 2, totalSteps: 10, warmupSteps: 4, ...extra }, step);

t.test('schedules give transformers’ values', async (t) => {
  t.same([0, 2, 4, 7, 10].map((s) => at('linear', s)), [0, 1, 2, 1, 0]);
  t.same([0, 3, 4, 9].map((s) => at('constant_with_warmup', s)), [0, 1.5, 2, 2]);
  t.equal(at('constant', 0), 2);
  t.ok(Math.abs(at('cosine', 7) - 1) < 1e-12);
  t.ok(Math.abs(at('cosine', 10)) < 1e-12);
  t.ok(Math.abs(at('cosine_with_min_lr', 10, { minLrRate: 0.1 }) - 0.2) < 1e-12);
  t.ok(Math.abs(at('cosine_with_min_lr', 10, { minLr: 0.5 }) - 0.5) < 1e-12);
  t.ok(Math.abs(at('cosine_with_min_lr', 7, { minLr: 0.5 }) - 1.25) < 1e-12);
});

t.test('warm-up and fractions of steps', async (t) => {
  t.equal(warmupSteps(467, 0.1, 0), 47);
  t.equal(warmupSteps(467, 0.1, 5), 5);
  t.equal(stepsOrShare(0.2, 467), 94);
  t.equal(stepsOrShare(400, 467), 400);
  t.equal(stepsOrShare(0, 467), 0);
});
