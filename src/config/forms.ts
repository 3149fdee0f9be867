/** What a structured key of another trainer comes to: keys of ours, or why not. */
export type FormReading = { set: Record<string, unknown> } | { problem: string };

const isMap = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
const ONE = 'edpo reads one dataset a run: join the files with data_files';

/** alignment-handbook: `dataset_mixer: {name: share}`. */
function mixer(value: unknown): FormReading {
  if (!isMap(value)) return { problem: 'expected {name: share}' };
  const entries = Object.entries(value);
  if (entries.length !== 1) return { problem: `mixes ${entries.length} datasets; ${ONE}` };
  const [name, share] = entries[0]!;
  return share === 1 ? { set: { dataset_name: name } } : { problem: `takes a random share (${JSON.stringify(share)}) of ${name}; say dataset_name and, for the first rows, max_train_samples` };
}

/** alignment-handbook: `dataset_splits: [train_prefs, test_prefs]`. */
function splits(value: unknown): FormReading {
  if (!Array.isArray(value) || !value.every((v) => typeof v === 'string')) return { problem: 'expected a list of split names' };
  const set: Record<string, unknown> = {};
  for (const name of value as string[]) {
    const key = /^train/.test(name) ? 'dataset_train_split' : /^(test|eval|val)/.test(name) ? 'dataset_test_split' : undefined;
    if (key === undefined || key in set) return { problem: `does not say which of ${value.join(', ')} is for training; say dataset_train_split and dataset_test_split` };
    set[key] = name;
  }
  return { set };
}

const USED = ['path', 'id', 'name', 'split', 'data_files'];
const HARMLESS: Record<string, (v: unknown) => boolean> = {
  columns: () => true, config: (v) => v === null || v === 'default', weight: (v) => v === 1, fraction: (v) => v === 1,
};

/** TRL and axolotl: `datasets: [{path, split, data_files, …}]`. */
function datasets(value: unknown): FormReading {
  if (!Array.isArray(value) || !value.every(isMap)) return { problem: 'expected a list of {path, split, data_files}' };
  if (value.length !== 1) return { problem: `mixes ${value.length} datasets; ${ONE}` };
  const one = value[0] as Record<string, unknown>;
  const odd = Object.keys(one).filter((k) => !USED.includes(k) && !(HARMLESS[k]?.(one[k]) ?? false));
  if (odd.length > 0) return { problem: `its ${odd.join(', ')} cannot be followed; say dataset_name, dataset_train_split, data_files instead` };
  const path = one['path'] ?? one['id'] ?? one['name'];
  const set: Record<string, unknown> = {};
  if (path !== undefined) set['dataset_name'] = path;
  if (one['split'] !== undefined) set['dataset_train_split'] = one['split'];
  if (one['data_files'] !== undefined) set['data_files'] = one['data_files'];
  return Object.keys(set).length > 0 ? { set } : { problem: 'expected a list of {path, split, data_files}' };
}

/** TRL and alignment-handbook: `dataset_mixture: {datasets: […], test_split_size, seed}`. */
function mixture(value: unknown): FormReading {
  if (!isMap(value)) return { problem: 'expected {datasets: [{id, split}]}' };
  const size = value['test_split_size'];
  if (size !== undefined && size !== null && size !== 0) return { problem: `splits ${JSON.stringify(size)} rows off at random; name files with eval_data_files (or a folder with a test split)` };
  return datasets(value['datasets']);
}

/** Keys with structure, by name. */
export const FORMS: Record<string, (value: unknown) => FormReading> = { dataset_mixer: mixer, dataset_splits: splits, datasets, dataset_mixture: mixture };
