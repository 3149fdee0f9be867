import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../../errors.js';

const DATA = /\.(jsonl|ndjson|json)(\.gz)?$|\.parquet$/;

/** Which files hold a split. */
export interface DatasetChoice {
  /** A file or a folder (a hub id must be downloaded first). */
  name: string | undefined;
  split: string;
  /** Subfolders of the dataset folder. */
  dataDir?: string[];
  /** Files given one by one; they win over `name`. */
  dataFiles?: string[];
}

/**
 * The files of a split, sorted by name: data_files as given; a file itself; of a folder (and its data_dir subfolders) the
 * files whose names start with the split's.
 */
export function datasetFiles(o: DatasetChoice): string[] {
  if (o.dataFiles?.length) {
    const missing = o.dataFiles.filter((f) => !existsSync(f));
    if (missing.length > 0) throw new InputError(`data file ${missing.join(', ')} does not exist`);
    return o.dataFiles;
  }
  if (!o.name) throw new InputError('no data: neither dataset_name nor data_files is given', '--dataset_name FILE_OR_FOLDER');
  if (!existsSync(o.name)) {
    throw new InputError(
      `dataset_name "${o.name}" is neither a file nor a folder here; edpo does not download data sets yet`,
      `download it (for instance with the Hugging Face client) and pass the folder: --dataset_name ./${o.name.split('/').at(-1)}`,
    );
  }
  if (statSync(o.name).isFile()) return [o.name];
  const folders = o.dataDir?.length ? o.dataDir.map((d) => join(o.name!, d)) : [o.name, join(o.name, 'data')].filter((d) => existsSync(d));
  const found = folders.flatMap((folder) => {
    if (!existsSync(folder)) throw new InputError(`data_dir: ${folder} does not exist`);
    return readdirSync(folder).filter((f) => DATA.test(f) && f.startsWith(o.split)).sort().map((f) => join(folder, f));
  });
  if (found.length === 0) {
    throw new InputError(`${folders.join(', ')}: no .jsonl, .json or .parquet file whose name starts with "${o.split}"`, 'name the split with --dataset_train_split, or the files with --data_files');
  }
  return found;
}
