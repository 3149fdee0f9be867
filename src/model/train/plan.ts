import { totalBatch } from '../../config/total_batch.js';
import type { RunConfig } from '../../config/keys.js';
import { learningRate, stepsOrShare, warmupSteps, type ScheduleOptions } from './schedule.js';

/** Steps of a run and when things happen, all fixed before it starts. */
export interface StepPlan {
  documents: number;
  batch: number;
  stepsPerEpoch: number;
  totalSteps: number;
  schedule: ScheduleOptions;
  loggingSteps: number;
  /** Steps between evaluations and checkpoints; 0: never. */
  evalSteps: number;
  saveSteps: number;
}

/** A short last batch is a step of its own. */
export function stepPlan(c: RunConfig, documents: number): StepPlan {
  const batch = totalBatch(c);
  const stepsPerEpoch = Math.ceil(documents / batch);
  const totalSteps = c.max_steps > 0 ? c.max_steps : Math.ceil(stepsPerEpoch * c.num_train_epochs);
  const loggingSteps = Math.max(1, stepsOrShare(c.logging_steps, totalSteps));
  const every = (strategy: string, steps: number): number => (strategy === 'no' ? 0 : strategy === 'epoch' ? stepsPerEpoch : stepsOrShare(steps, totalSteps));
  const { num_cycles, min_lr, min_lr_rate } = c.lr_scheduler_kwargs ?? {};
  return {
    documents, batch, stepsPerEpoch, totalSteps, loggingSteps,
    evalSteps: c.eval_strategy === 'steps' && c.eval_steps === 0 ? loggingSteps : every(c.eval_strategy, c.eval_steps),
    saveSteps: every(c.save_strategy, c.save_steps),
    schedule: {
      name: c.lr_scheduler_type, learningRate: c.learning_rate, totalSteps, warmupSteps: warmupSteps(totalSteps, c.warmup_ratio, c.warmup_steps),
      ...(num_cycles !== undefined ? { numCycles: num_cycles } : {}), ...(min_lr !== undefined ? { minLr: min_lr } : {}), ...(min_lr_rate !== undefined ? { minLrRate: min_lr_rate } : {}),
    },
  };
}

export const rateAt = (plan: StepPlan, step: number): number => learningRate(plan.schedule, step);

/** TR-DPO whose reference would not move while anything is still to be trained: TRL's 512 steps are for runs of thousands. */
export const stillReference = (c: RunConfig, { totalSteps }: Pick<StepPlan, 'totalSteps'>): string | undefined =>
  c.sync_ref_model && c.ref_model_sync_steps >= totalSteps
    ? `sync_ref_model moves the reference after every ${c.ref_model_sync_steps} steps (ref_model_sync_steps), and the run has ${totalSteps}: it trains as without sync_ref_model`
    : undefined;
