import { z } from 'zod';
import { SINKS } from '../../model/train/sinks/types.js';
import { count, keysOf, MODEL, text } from './define.js';

/** Names from a fixed few, one or several. */
const sinks = z.union([z.enum(SINKS), z.array(z.enum(SINKS))]).transform((v) => [...new Set(Array.isArray(v) ? v : [v])]);
/** A number of steps, or a share of all steps in (0, 1). */
const steps = z.number().min(0).refine((v) => v < 1 || Number.isInteger(v), 'expected a whole number of steps or a share in (0, 1)');

const key = keysOf('run');

/** Keys of the run: its folder, seeds, logs, evaluations and checkpoints. */
export const runKeys = {
  output_dir: key('output_dir', ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'plan', 'merge'], text.optional(), 'folder of everything the command writes'),
  run_name: key('run_name', ['train', 'sft'], text.optional(), 'name in the model card and manifest'),
  overwrite_output_dir: key('overwrite_output_dir', ['train', 'sft'], z.boolean().default(false), 'start anew in a folder that holds a run'),
  resume_from_checkpoint: key('resume_from_checkpoint', ['train', 'sft', 'precompute-ref'], z.union([text, z.boolean()]).optional(), 'last (also --resume), or the folder of a checkpoint'),
  seed: key('seed', MODEL, count.default(42), 'data order, sampling, the adapters’ beginning and dropout'),
  data_seed: key('data_seed', ['train', 'sft'], count.optional(), 'data order alone; seed where absent'),
  shuffle: key('shuffle', ['train', 'sft'], z.boolean().default(true), 'new order each epoch, from (seed, epoch) alone'),
  logging_steps: key('logging_steps', ['train', 'sft'], steps.default(10), 'optimiser steps, or a share of all'),
  report_to: key('report_to', ['train', 'sft'], sinks.default([]), 'tensorboard: event files in output_dir/tensorboard; csv: trainer_log.csv; several with commas; none: trainer_log.jsonl alone, which is always written'),
  report_html: key('report_html', ['train', 'sft'], z.boolean().default(true), 'report.html in output_dir, refreshed while the run goes on; it holds texts of some pairs'),
  eval_strategy: key('eval_strategy', ['train', 'sft'], z.enum(['no', 'steps', 'epoch']).default('no'), 'when to evaluate during training'),
  eval_steps: key('eval_steps', ['train', 'sft'], steps.default(0), 'optimiser steps, or a share of all; 0: as logging_steps'),
  eval_on_start: key('eval_on_start', ['train', 'sft'], z.boolean().default(true), 'evaluate at step 0 too, where evaluation is on'),
  save_strategy: key('save_strategy', ['train', 'sft'], z.enum(['steps', 'epoch', 'no']).default('steps'), 'when to write checkpoints'),
  save_steps: key('save_steps', ['train', 'sft'], steps.default(500), 'optimiser steps, or a share of all'),
  save_total_limit: key('save_total_limit', ['train', 'sft'], count.default(0), 'checkpoints kept (the best one besides); 0: all'),
  load_best_model_at_end: key('load_best_model_at_end', ['train', 'sft'], z.boolean().default(false), 'write the best checkpoint’s weights as the result'),
  metric_for_best_model: key('metric_for_best_model', ['train', 'sft'], text.default('loss'), 'an evaluation metric, with or without eval_'),
  greater_is_better: key('greater_is_better', ['train', 'sft'], z.boolean().optional(), 'of metric_for_best_model; false for losses where absent'),
  early_stopping_patience: key('early_stopping_patience', ['train', 'sft'], count.default(0), 'stop after so many evaluations without a better metric; 0: never'),
  on_nonfinite: key('on_nonfinite', ['train', 'sft'], z.enum(['stop', 'skip']).default('stop'), 'a step with a non-finite loss or gradient never moves the weights; then stop, or go on'),
  shard: key('shard', ['precompute-ref'], z.string().regex(/^\d+\/\d+$/, 'expected i/n').optional(), 'i/n: only the i-th (from 0) of n parts'),
  merge_shards: key('merge_shards', ['precompute-ref'], z.boolean().default(false), 'join the shards of a cache folder into whole files'),
} as const;
