import { hasEvaluationKeys } from './contradictions_data.js';
import type { Places, Purpose, Report } from './contradictions_types.js';
import type { RunConfig } from './keys.js';

/** Evaluations and what waits for them. */
export function evaluations(c: RunConfig, given: Places, purpose: Purpose, add: Report, notes: string[]): void {
  for (const name of ['load_best_model_at_end', 'early_stopping_patience'] as const) {
    if (c[name] && c.eval_strategy === 'no') add([name, 'eval_strategy'], `${name} needs evaluations: set eval_strategy to steps or epoch`);
  }
  if (c.load_best_model_at_end && c.save_strategy === 'no') add(['load_best_model_at_end', 'save_strategy'], 'load_best_model_at_end needs checkpoints, got save_strategy: no');
  if ((purpose === 'train' || purpose === 'sft') && c.eval_strategy !== 'no' && !hasEvaluationKeys(c)) {
    add(['eval_strategy'], `is ${c.eval_strategy}, but there are no evaluation data: give eval_data_files, or a dataset_name that is a folder with a test split${c.dataset_mixture ? ' (in dataset_mixture: test_split_size)' : ''}`);
  }
  if (given.has('eval_steps') && c.eval_steps > 0 && c.eval_strategy === 'no') notes.push('eval_steps: not used (eval_strategy is no)');
}

/** A run that is shared by several processes. */
export function processes(c: RunConfig, given: Places, add: Report): void {
  if (c.shard) {
    const [i, n] = c.shard.split('/').map(Number) as [number, number];
    if (!(n > 0 && i < n)) add(['shard'], `expected i/n with i from 0 to n - 1, got ${c.shard}`);
    if (c.merge_shards) add(['merge_shards', 'shard'], 'merge_shards joins all shards; give it without shard');
  }
  if (c.adapters) {
    const twice = c.adapters.find((a, i) => c.adapters!.indexOf(a) !== i);
    if (twice !== undefined) add(['adapters'], `names "${twice}" twice, and a card serves one process; NAME@0,NAME@1 are two that are called alike`);
    if (c.adapters.includes('all') && c.adapters.length > 1) add(['adapters'], '"all" stands alone');
    for (const key of ['adapter', 'shard', 'merge_shards'] as const) if (given.get(key)?.where.startsWith('--')) add([key, 'adapters'], `is one process’s; adapters gives each ${key === 'adapter' ? 'its own' : 'its shard and joins them'}`);
  }
}
