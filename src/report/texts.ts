import { createIo } from '../cli/io.js';
import { DATASET_FORMATS, detectFormat, readExample, type DatasetFormat } from '../model/data/formats.js';
import { allRows } from '../model/data/mixture.js';
import { splitSets, type SourceKeys } from '../model/data/source.js';
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
  const text = (key: string): string | undefined => (typeof config[key] === 'string' ? config[key] : undefined);
  try {
    // Of a hub's data those in the cache: a report asks no network.
    const sets = await splitSets({ ...(config as SourceKeys), offline: true }, split, { ...createIo({ quiet: true }), warn: () => undefined });
    const asked = text('dataset_format') as DatasetFormat | undefined;
    const given = asked !== undefined && asked !== 'auto' && DATASET_FORMATS.includes(asked) ? asked : undefined;
    const formats = new Map<number, Exclude<DatasetFormat, 'auto'>>();
    const last = Math.max(...ids);
    let seen = 0;
    for await (const row of allRows(sets)) {
      const [id, set] = [row.id!, row.set!];
      seen = id + 1;
      const format = given ?? formats.get(set) ?? detectFormat(row.value);
      formats.set(set, format);
      if (format === 'tokenized') return 'the data are token ids';
      if (format === 'list') return 'the data are lists of responses';
      if (ids.has(id)) {
        const example = readExample(row, format, 2, undefined);
        if (!('refused' in example) && example.kind !== 'ids') texts.set(id, { prompt: asText(example.prompt), chosen: asText(example.chosen), rejected: asText(example.rejected!) });
      }
      if (id >= last) return texts;
    }
    return `the data have only ${seen} rows now, pair ${last} is not among them`;
  } catch (error) {
    return (error as Error).message;
  }
}
