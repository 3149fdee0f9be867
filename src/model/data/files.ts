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

/** Where files are looked for: the disk, or a repository of the hub before it is downloaded. */
export interface FileTree {
  kind(path: string): 'file' | 'folder' | undefined;
  /** Names in a folder. */
  list(folder: string): string[];
}

export const diskTree: FileTree = {
  kind: (path) => (!existsSync(path) ? undefined : statSync(path).isDirectory() ? 'folder' : 'file'),
  list: (folder) => readdirSync(folder),
};

/**
 * The files of a split, sorted by name: data_files as given; a file itself; of a folder (and its data_dir subfolders) the files
 * named after the split (`train.jsonl.gz`, `train-00000-of-00002.parquet`), or in a folder of that name, or else those whose
 * names begin with it (`train_prefs.parquet`).
 */
export function datasetFiles(o: DatasetChoice, tree: FileTree = diskTree): string[] {
  const has = (path: string): boolean => tree.kind(path) !== undefined;
  if (o.dataFiles?.length) {
    // As in Hugging Face's loader, names may be relative to the dataset's folder.
    const files = o.dataFiles.map((f) => (!has(f) && o.name && has(join(o.name, f)) ? join(o.name, f) : f));
    const missing = files.filter((f) => !has(f));
    if (missing.length > 0) throw new InputError(`data file ${missing.join(', ')} does not exist`, 'give paths from here, or from the folder of --dataset_name');
    const folders = files.filter((f) => tree.kind(f) === 'folder');
    if (folders.length > 0) throw new InputError(`data_files: ${folders.join(', ')} is a folder`, `--dataset_name ${folders[0]}`);
    return files;
  }
  if (!o.name) throw new InputError('no data: neither dataset_name nor data_files is given', '--dataset_name FILE_OR_FOLDER');
  if (!has(o.name)) throw new InputError(`dataset_name "${o.name}" is neither a file nor a folder here, nor a hub id`, '--dataset_name FILE_OR_FOLDER, or ORG/NAME of the hub');
  if (tree.kind(o.name) === 'file') return [o.name];
  const folders = o.dataDir?.length ? o.dataDir.map((d) => join(o.name!, d)) : [o.name, join(o.name, 'data')].filter(has);
  const found = folders.flatMap((folder) => {
    if (!has(folder)) throw new InputError(`data_dir: ${folder} does not exist`, `folders there: ${subfolders(o.name!, tree).join(', ') || 'none'}`);
    return splitFiles(folder, o.split, tree);
  });
  if (found.length > 0) return found;
  const deeper = subfolders(o.name, tree).filter((d) => splitFiles(join(o.name!, d), o.split, tree).length > 0);
  throw new InputError(
    `${folders.join(', ')}: no .jsonl, .json or .parquet file whose name starts with "${o.split}"`,
    deeper.length > 0 ? `its folders have such files: --data_dir ${deeper.join(',')}` : 'name the split with --dataset_train_split, or the files with --data_files',
  );
}

const dataFilesOf = (folder: string, tree: FileTree): string[] => tree.list(folder).filter((f) => DATA.test(f) && tree.kind(join(folder, f)) === 'file').sort();
const subfolders = (folder: string, tree: FileTree): string[] => tree.list(folder).filter((f) => !f.startsWith('.') && tree.kind(join(folder, f)) === 'folder').sort();

/** "train" must not take train_prefs and train_sft together where train.parquet is there. */
function splitFiles(folder: string, split: string, tree: FileTree): string[] {
  const names = dataFilesOf(folder, tree).filter((f) => f.startsWith(split));
  const exact = names.filter((f) => /^([-.\d]|_\d)/.test(f.slice(split.length)));
  if (exact.length > 0) return exact.map((f) => join(folder, f));
  const inner = join(folder, split);
  if (tree.kind(inner) === 'folder') return dataFilesOf(inner, tree).map((f) => join(inner, f));
  const stems = [...new Set(names.map((f) => f.replace(/[-_.]?\d.*$|\..*$/, '')))];
  if (stems.length > 1) throw new InputError(`${folder}: the split "${split}" may be ${stems.join(' or ')}`, `name one of them as the split (${stems[0]}), or the files with --data_files`);
  return names.map((f) => join(folder, f));
}
