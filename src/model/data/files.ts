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
 * The files of a split, sorted by name: data_files as given; a file itself; of a folder (and its data_dir subfolders) the files
 * named after the split (`train.jsonl.gz`, `train-00000-of-00002.parquet`), or in a folder of that name, or else those whose
 * names begin with it (`train_prefs.parquet`).
 */
export function datasetFiles(o: DatasetChoice): string[] {
  if (o.dataFiles?.length) {
    // As in Hugging Face's loader, names may be relative to the dataset's folder.
    const files = o.dataFiles.map((f) => (!existsSync(f) && o.name && existsSync(join(o.name, f)) ? join(o.name, f) : f));
    const missing = files.filter((f) => !existsSync(f));
    if (missing.length > 0) throw new InputError(`data file ${missing.join(', ')} does not exist`, 'give paths from here, or from the folder of --dataset_name');
    const folders = files.filter((f) => statSync(f).isDirectory());
    if (folders.length > 0) throw new InputError(`data_files: ${folders.join(', ')} is a folder`, `--dataset_name ${folders[0]}`);
    return files;
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
    if (!existsSync(folder)) throw new InputError(`data_dir: ${folder} does not exist`, `folders there: ${subfolders(o.name!).join(', ') || 'none'}`);
    return splitFiles(folder, o.split);
  });
  if (found.length > 0) return found;
  const deeper = subfolders(o.name).filter((d) => splitFiles(join(o.name!, d), o.split).length > 0);
  throw new InputError(
    `${folders.join(', ')}: no .jsonl, .json or .parquet file whose name starts with "${o.split}"`,
    deeper.length > 0 ? `its folders have such files: --data_dir ${deeper.join(',')}` : 'name the split with --dataset_train_split, or the files with --data_files',
  );
}

const dataFilesOf = (folder: string): string[] => readdirSync(folder).filter((f) => DATA.test(f) && statSync(join(folder, f)).isFile()).sort();
const subfolders = (folder: string): string[] => readdirSync(folder).filter((f) => !f.startsWith('.') && statSync(join(folder, f)).isDirectory()).sort();

/** "train" must not take train_prefs and train_sft together where train.parquet is there. */
function splitFiles(folder: string, split: string): string[] {
  const names = dataFilesOf(folder).filter((f) => f.startsWith(split));
  const exact = names.filter((f) => /^([-.\d]|_\d)/.test(f.slice(split.length)));
  if (exact.length > 0) return exact.map((f) => join(folder, f));
  const inner = join(folder, split);
  if (existsSync(inner) && statSync(inner).isDirectory()) return dataFilesOf(inner).map((f) => join(inner, f));
  const stems = [...new Set(names.map((f) => f.replace(/[-_.]?\d.*$|\..*$/, '')))];
  if (stems.length > 1) throw new InputError(`${folder}: the split "${split}" may be ${stems.join(' or ')}`, `name one of them as the split (${stems[0]}), or the files with --data_files`);
  return names.map((f) => join(folder, f));
}
