import type { Places, Report } from './contradictions_types.js';
import { defaultOf } from './expect.js';
import type { RunConfig } from './keys.js';
import { mixesEvaluation } from './mixture.js';

/** Does the configuration name data? */
export const hasData = (c: Pick<RunConfig, 'dataset_name' | 'data_files' | 'dataset_mixture'>): boolean => c.dataset_name !== undefined || c.data_files !== undefined || c.dataset_mixture !== undefined;

/** Which keys name data: one of them alone. */
export function dataSources(c: RunConfig, given: Places, add: Report, notes: string[]): void {
  const m = c.dataset_mixture;
  if (m === undefined) return;
  for (const key of ['dataset_name', 'data_files'] as const) if (c[key] !== undefined) add(['dataset_mixture', key], `${key} names data, too; give one of the two`);
  for (const key of ['data_dir', 'dataset_revision'] as const) if (c[key] !== undefined) add([key, 'dataset_mixture'], `belongs to dataset_name; a mixture says ${key === 'data_dir' ? 'config (or data_dir)' : 'id: ORG/NAME@REVISION'} for each data set`);
  const sources = [...((m.test_split_size ?? undefined) !== undefined ? ['test_split_size'] : []), ...(m.test_datasets ? ['test_datasets'] : []), ...(c.eval_data_files ? ['eval_data_files'] : [])];
  if (sources.length > 1) add(['dataset_mixture', 'eval_data_files'], `${sources.join(' and ')} both say what is evaluated on; give one of them`);
  const unused = (['dataset_train_split', 'dataset_test_split'] as const).filter((k) => given.has(k) && c[k] !== defaultOf(k));
  if (unused.length > 0) notes.push(`${unused.join(', ')}: not used (dataset_mixture says the split of each data set)`);
}

/** Could there be evaluation data? A single data file has no test split. */
export const hasEvaluationKeys = (c: RunConfig): boolean =>
  c.eval_data_files !== undefined || mixesEvaluation(c) || (c.dataset_name !== undefined && c.data_files === undefined && !/\.(jsonl|ndjson|json|parquet)(\.gz)?$/.test(c.dataset_name));
