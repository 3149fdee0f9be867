/** Learning-rate schedules by their transformers names. */
export const SCHEDULES = ['linear', 'cosine', 'constant', 'constant_with_warmup', 'cosine_with_min_lr'] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

export interface ScheduleOptions {
  name: ScheduleName;
  learningRate: number;
  totalSteps: number;
  warmupSteps: number;
  /** Half waves of the cosine (0.5 goes down once). */
  numCycles?: number;
  /** Floor of cosine_with_min_lr: absolute, or as a share of the learning rate. */
  minLr?: number;
  minLrRate?: number;
}

/** Warm-up steps of a run: `steps` if given, else ceil(ratio × total), as transformers counts them. */
export const warmupSteps = (total: number, ratio: number, steps: number): number => (steps > 0 ? steps : Math.ceil(ratio * total));

/**
 * Learning rate of optimiser step `step`, counted from 0, exactly as transformers' schedulers give it: under a warm-up the
 * first step's rate is 0. `constant` has no warm-up.
 */
export function learningRate(o: ScheduleOptions, step: number): number {
  const { totalSteps: total, warmupSteps: warm } = o;
  if (o.name === 'constant') return o.learningRate;
  if (step < warm) return (o.learningRate * step) / Math.max(1, warm);
  if (o.name === 'constant_with_warmup') return o.learningRate;
  const progress = (step - warm) / Math.max(1, total - warm);
  if (o.name === 'linear') return o.learningRate * Math.max(0, (total - step) / Math.max(1, total - warm));
  const wave = Math.max(0, 0.5 * (1 + Math.cos(Math.PI * 2 * (o.numCycles ?? 0.5) * progress)));
  if (o.name === 'cosine') return o.learningRate * wave;
  const floor = o.minLr !== undefined ? o.minLr / o.learningRate : (o.minLrRate ?? 0);
  return o.learningRate * (wave * (1 - floor) + floor);
}

/** A count of steps given as such (>= 1) or as a share of all steps in (0, 1), rounded up; 0 = never. */
export const stepsOrShare = (value: number, total: number): number =>
  value <= 0 ? 0 : value < 1 ? Math.max(1, Math.ceil(value * total)) : Math.floor(value);
