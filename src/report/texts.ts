import { createIo } from '../cli/io.js';
import { datasetFiles, type DatasetChoice } from '../model/data/files.js';
import { DATASET_FORMATS, detectFormat, readExample, type DatasetFormat } from '../model/data/formats.js';
import { rows } from '../model/data/rows.js';
import { isHubId } from '../model/hub/names.js';
import type { Message } from '../model/text/template.js';

export interface PairText { prompt: string; chosen: string; rejected: string }

/** Characters shown of a text; the rest is in the data. */
const MOST = 2000;

const asText = (v: string | Message[]): string => {
  const text = typeof v === 'string' ? v : v.map((m) => (v.length > 1 ? `${m.role}: ${m.content}` : m.content)).join('\n\n');
  return text.length > MOST ? `${text.slice(0, text.charCodeAt(MOST - 1) >> 10 === 0x36 ? MOST - 1 : MOST)} …` : text;
};

/**
 * Texts of rows by their numbers, from the data the configuration names, read up to the last one wanted.
 * @returns the texts, or why there are none: a report without them is still a report
 */
export async function pairTexts(config: Record<string, unknown>, split: 'train' | 'eval', ids: Set<number>): Promise<Map<number, PairText> | string> {
  const texts = new Map<number, PairText>();
  if (ids.size === 0) return texts;
  const strings = (key: string): string[] | undefined => (Array.isArray(config[key]) ? (config[key] as string[]) : undefined);
  const text = (key: string): string | undefined => (typeof config[key] === 'string' ? config[key] : undefined);
  const dataDir = strings('data_dir');
  const dataFiles = strings(split === 'train' ? 'data_files' : 'eval_data_files');
  try {
    const files = await filesOf({
      name: text('dataset_name'), split: (split === 'train' ? text('dataset_train_split') : text('dataset_test_split')) ?? (split === 'train' ? 'train' : 'test'),
      ...(dataDir ? { dataDir } : {}), ...(dataFiles ? { dataFiles } : {}),
    }, text('dataset_revision'));
    const asked = text('dataset_format') as DatasetFormat | undefined;
    let format = asked !== undefined && asked !== 'auto' && DATASET_FORMATS.includes(asked) ? asked : undefined;
    const last = Math.max(...ids);
    let id = -1;
    for (const file of files) {
      for await (const row of rows(file)) {
        id++;
        format ??= detectFormat(row.value);
        if (format === 'tokenized') return 'the data are token ids';
        if (format === 'list') return 'the data are lists of responses';
        if (ids.has(id)) {
          const example = readExample(row, format, 2, undefined);
          if (!('refused' in example) && example.kind !== 'ids') texts.set(id, { prompt: asText(example.prompt), chosen: asText(example.chosen), rejected: asText(example.rejected!) });
        }
        if (id >= last) return texts;
      }
    }
    return `the data have only ${id + 1} rows now, pair ${last} is not among them`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Files of the data: of a hub's they are those in the cache, a report asks no network. */
async function filesOf(choice: DatasetChoice, revision: string | undefined): Promise<string[]> {
  if (choice.name === undefined || !isHubId(choice.name)) return datasetFiles(choice);
  const { localDataset } = await import('../model/hub/index.js');
  return localDataset(choice, { offline: true, ...(revision === undefined ? {} : { dataset_revision: revision }) }, { ...createIo({ quiet: true }), warn: () => undefined });
}
