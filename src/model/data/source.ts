import type { CliIo } from '../../cli/io.js';
import type { RunConfig } from '../../config/keys.js';
import { mixesEvaluation, type MixedDataset } from '../../config/mixture.js';
import { localDataset } from '../hub/index.js';
import type { DatasetChoice } from './files.js';
import { countRows, mixtureOrder, mixtureRows, type MixtureSource } from './mixture.js';
import { rows, type Row } from './rows.js';

/** The keys that say where rows come from. */
export type SourceKeys = Partial<Pick<RunConfig, 'dataset_name' | 'dataset_revision' | 'data_files' | 'data_dir' | 'eval_data_files' | 'dataset_train_split' | 'dataset_test_split' | 'dataset_mixture' | 'offline'>>;

/** Rows of a split in the order they are used in, and the files they stand in. */
export interface SplitSource {
  files: string[];
  rows(): AsyncIterable<Row>;
}

const list = (v: string | string[] | null | undefined): string[] | undefined => (v === null || v === undefined ? undefined : Array.isArray(v) ? v : [v]);

async function* eachFile(files: string[]): AsyncGenerator<Row> {
  for (const file of files) yield* rows(file);
}

/** Which files hold a split, where one data set has it. */
function choiceOf(c: SourceKeys, split: 'train' | 'eval'): DatasetChoice {
  const files = split === 'train' ? c.data_files : c.eval_data_files;
  return { name: c.dataset_name, split: (split === 'train' ? c.dataset_train_split : c.dataset_test_split) ?? (split === 'train' ? 'train' : 'test'), ...(c.data_dir ? { dataDir: c.data_dir } : {}), ...(files ? { dataFiles: files } : {}) };
}

/** Is this split a part of dataset_mixture? */
const mixed = (c: SourceKeys, split: 'train' | 'eval'): boolean => c.dataset_mixture !== undefined && (split === 'train' || mixesEvaluation(c));

/** The sets of a mixture that a split is made of, their files found (and downloaded where they are a hub’s). */
async function setsOf(entries: MixedDataset[], offline: boolean, io: CliIo): Promise<MixtureSource[]> {
  const sources: MixtureSource[] = [];
  for (const d of entries) {
    const dataFiles = list(d.data_files);
    // A configuration's files stand in a folder of its name.
    const dataDir = list(d.data_dir) ?? ((d.config ?? 'default') === 'default' ? undefined : [d.config!]);
    const files = await localDataset({ name: d.id, split: d.split ?? 'train', ...(dataDir ? { dataDir } : {}), ...(dataFiles ? { dataFiles } : {}) }, { offline }, io);
    sources.push({ name: `${d.id} ${d.split ?? 'train'}`, files, ...(d.columns ? { columns: d.columns } : {}), weight: d.weight ?? 1 });
  }
  return sources;
}

/**
 * Where the rows of a split come from, in the order of their numbers in ledgers and caches: files, and the columns read of each.
 * @returns one entry a data set; of a mixture every row counts, whether it is taken or not
 */
export async function splitSets(c: SourceKeys, split: 'train' | 'eval', io: CliIo): Promise<MixtureSource[]> {
  if (!mixed(c, split)) return [{ name: c.dataset_name ?? '', files: await localDataset(choiceOf(c, split), c, io), weight: 1 }];
  const m = c.dataset_mixture!;
  return setsOf(split === 'eval' && m.test_datasets ? m.test_datasets : m.datasets, c.offline ?? false, io);
}

/** Opens a split; says what a mixture takes. @throws InputError */
export async function openSource(c: SourceKeys, split: 'train' | 'eval', io: CliIo): Promise<SplitSource> {
  const sources = await splitSets(c, split, io);
  const files = sources.flatMap((s) => s.files);
  if (!mixed(c, split)) return { files, rows: () => eachFile(files) };
  const m = c.dataset_mixture!;
  const counts = await countRows(sources);
  const own = split === 'eval' && m.test_datasets;
  const order = mixtureOrder(counts, sources.map((s) => s.weight), { seed: m.seed ?? 0, testSize: own ? undefined : m.test_split_size ?? undefined, take: m.take ?? 'random' });
  const ids = split === 'train' || own ? order.train : order.held;
  io.say(`${split}: a mixture of ${sources.map((s, k) => `${s.name} (${order.taken[k]!} of ${counts[k]!} rows)`).join(', ')}${order.held.length > 0 ? `, of which ${split === 'train' ? `${order.held.length} are held out` : `${ids.length} are held out and these`}` : ''}`);
  return { files, rows: () => mixtureRows(sources, ids) };
}
