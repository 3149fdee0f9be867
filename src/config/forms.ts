import type { DatasetMixture, MixedDataset } from './mixture.js';

/** Structured keys of other trainers that say together which data a run reads. */
export const FORM_KEYS = ['dataset_mixer', 'dataset_splits', 'dataset_configs', 'datasets', 'test_split_size'] as const;
export type FormKey = (typeof FORM_KEYS)[number];
export const isFormKey = (key: string): key is FormKey => (FORM_KEYS as readonly string[]).includes(key);

/** What one such key comes to: keys of ours, a part of another key's reading, or why not. */
export type FormReading = { key: FormKey } & ({ set: Record<string, unknown> } | { within: FormKey } | { problem: string });

const isMap = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
const isTexts = (v: unknown): v is string[] => Array.isArray(v) && v.every((x) => typeof x === 'string');
const present = (v: unknown): boolean => v !== undefined && v !== null;
/** A data file has no splits. */
const isDataFile = (id: string): boolean => /\.(jsonl|ndjson|json|parquet)(\.gz)?$/.test(id);

/** alignment-handbook's seed where the older form shuffles. */
const MIXER_SEED = 42;

/** Reads the form keys of a file together. @param given the values of those the file has */
export function readForms(given: Partial<Record<FormKey, unknown>>): FormReading[] {
  const readings: FormReading[] = [];
  if ('dataset_mixer' in given) readings.push(...mixer(given));
  else {
    if ('dataset_splits' in given) readings.push({ key: 'dataset_splits', ...namedSplits(given.dataset_splits) });
    if (present(given.dataset_configs)) readings.push({ key: 'dataset_configs', problem: 'belongs to dataset_mixer, which the file does not have' });
  }
  if ('datasets' in given) readings.push({ key: 'datasets', ...datasets(given.datasets, given.test_split_size) });
  if ('test_split_size' in given) readings.push('datasets' in given || !present(given.test_split_size) ? { key: 'test_split_size', within: 'datasets' } : { key: 'test_split_size', problem: 'belongs to datasets (TRL) or stands inside dataset_mixture' });
  return readings;
}

/** The splits for training and for evaluation, told by their names. */
function sortSplits(value: unknown): { train: string[]; test: string[] } | { problem: string } {
  if (!isTexts(value)) return { problem: 'expected a list of split names' };
  const train = value.filter((name) => /train/.test(name));
  const test = value.filter((name) => !/train/.test(name) && /test|^eval|^val/.test(name));
  return train.length === 0 || train.length + test.length < value.length ? { problem: `does not say which of ${value.join(', ')} is for training; say dataset_train_split and dataset_test_split` } : { train, test };
}

const splitKeys = ({ train, test }: { train: string[]; test: string[] }): Record<string, unknown> => ({ ...(train[0] === undefined ? {} : { dataset_train_split: train[0] }), ...(test[0] === undefined ? {} : { dataset_test_split: test[0] }) });

/** `dataset_splits: [train_prefs, test_prefs]` beside a dataset_name. */
function namedSplits(value: unknown): { set: Record<string, unknown> } | { problem: string } {
  const sorted = sortSplits(value);
  if ('problem' in sorted) return sorted;
  if (sorted.train.length > 1 || sorted.test.length > 1) return { problem: `names several splits of one kind (${(value as string[]).join(', ')}) and no dataset_mixer; say dataset_mixture` };
  return { set: splitKeys(sorted) };
}

/**
 * alignment-handbook before its `dataset_mixture`: `dataset_mixer: {name: share}`, with every one of `dataset_splits` of every set. The first rows of a
 * training split are taken, of an evaluation split all.
 */
function mixer(given: Partial<Record<FormKey, unknown>>): FormReading[] {
  const { dataset_mixer: value, dataset_splits: splits, dataset_configs: configs } = given;
  const rest = (['dataset_splits', 'dataset_configs'] as const).filter((k) => k in given).map((key): FormReading => ({ key, within: 'dataset_mixer' }));
  if (!isMap(value) || Object.keys(value).length === 0) return [{ key: 'dataset_mixer', problem: 'expected {name: share}' }, ...rest];
  const names = Object.keys(value);
  const bad = names.find((n) => !(typeof value[n] === 'number' && value[n] >= 0 && value[n] <= 1));
  if (bad !== undefined) return [{ key: 'dataset_mixer', problem: `expected a share of its rows from 0 to 1 for ${bad}, got ${JSON.stringify(value[bad])}` }, ...rest];
  if (present(configs) && (!isTexts(configs) || configs.length !== names.length)) return [{ key: 'dataset_configs', problem: `expected one name for each of the ${names.length} sets of dataset_mixer` }, ...(['dataset_mixer', 'dataset_splits'] as const).filter((k) => k in given).map((key): FormReading => ({ key, within: 'dataset_configs' }))];
  const sorted = present(splits) ? sortSplits(splits) : { train: ['train'], test: ['test'] };
  if ('problem' in sorted) return [{ key: 'dataset_splits', problem: sorted.problem }, { key: 'dataset_mixer', within: 'dataset_splits' }];
  if (names.length === 1 && value[names[0]!] === 1 && !present(configs) && sorted.train.length === 1 && sorted.test.length <= 1) {
    return [{ key: 'dataset_mixer', set: { dataset_name: names[0] } }, ...rest.map((r): FormReading => (r.key === 'dataset_splits' ? { key: r.key, set: splitKeys(sorted) } : r))];
  }
  const entry = (id: string, i: number, split: string): MixedDataset => ({ id, ...(present(configs) ? { config: (configs as string[])[i]! } : {}), split });
  const train = names.flatMap((id, i) => (value[id] === 0 ? [] : sorted.train.map((split) => ({ ...entry(id, i, split), weight: value[id] as number }))));
  const test = names.flatMap((id, i) => (present(splits) || !isDataFile(id) ? sorted.test.map((split) => entry(id, i, split)) : []));
  if (train.length === 0) return [{ key: 'dataset_mixer', problem: 'takes no rows of any set' }, ...rest];
  const mixture: DatasetMixture = { datasets: train, seed: MIXER_SEED, take: 'first', ...(test.length > 0 ? { test_datasets: test } : {}) };
  return [{ key: 'dataset_mixer', set: { dataset_mixture: mixture } }, ...rest];
}

const ENTRY = ['path', 'id', 'name', 'config', 'split', 'columns', 'data_files', 'data_dir', 'weight', 'fraction'];

/** TRL: `datasets: [{path, name, split, columns, data_files, …}]`; one set without a choice of rows or columns is a dataset_name. */
function datasets(value: unknown, testSize: unknown): { set: Record<string, unknown> } | { problem: string } {
  if (!Array.isArray(value) || value.length === 0 || !value.every(isMap)) return { problem: 'expected a list of {path, split, data_files}' };
  const odd = [...new Set((value as Array<Record<string, unknown>>).flatMap((one) => Object.keys(one).filter((k) => !ENTRY.includes(k) && present(one[k]))))];
  if (odd.length > 0) return { problem: `its ${odd.join(', ')} cannot be followed; say dataset_name, dataset_train_split, data_files instead` };
  const entries = (value as Array<Record<string, unknown>>).map((one) => {
    const id = one['path'] ?? one['id'] ?? one['name'];
    const config = one['config'] ?? (present(one['path'] ?? one['id']) ? one['name'] : undefined);
    const weight = one['weight'] ?? one['fraction'];
    return Object.fromEntries(Object.entries({ id, config: config === 'default' ? undefined : config, split: one['split'], columns: one['columns'], data_files: one['data_files'], data_dir: one['data_dir'], weight: weight === 1 ? undefined : weight }).filter(([, v]) => present(v)));
  });
  const [one] = entries;
  if (entries.length === 1 && !present(testSize) && !['config', 'columns', 'weight'].some((k) => k in one!)) {
    const names = { id: 'dataset_name', split: 'dataset_train_split', data_files: 'data_files', data_dir: 'data_dir' } as const;
    const set = Object.fromEntries(Object.entries(one!).map(([k, v]) => [names[k as keyof typeof names], v]));
    return 'id' in one! || 'data_files' in one! ? { set } : { problem: 'expected a list of {path, split, data_files}' };
  }
  return { set: { dataset_mixture: { datasets: entries, ...(present(testSize) ? { test_split_size: testSize } : {}) } } };
}
