import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FloatFormat } from '../../src/model/files/float_formats.js';
import { writeSafetensors } from '../../src/model/files/safetensors.js';

interface Pair { ids: number[]; source: number; first: number; second: number; left: number; right: number }
export interface PairRmGolden {
  models: Record<string, { config: Record<string, unknown>; names: string[]; shapes: number[][]; hidden: Array<{ ids: number[]; rows: number[]; states: number[][] }>; pairs: Pair[] }>;
  buckets: Array<{ buckets: number; max: number; runs: Array<[number, number]> }>;
  far: number;
  tokenizer: { tokenizer: Record<string, unknown>; tokenizer_config: Record<string, unknown> };
  limits: { source: number; candidate: number };
  texts: Array<{ source: string; a: string; b: string; ids: number[]; lengths: number[]; truncated: boolean }>;
}
export const golden = JSON.parse(readFileSync('test/goldens/pairrm.json', 'utf8')) as PairRmGolden;
export const MODELS = Object.keys(golden.models);

export interface Stored { name: string; shape: number[]; values: Float32Array }

/** The weights of test/goldens/make_pairrm.py. */
export function pairRmWeights(model: string): Stored[] {
  const { names, shapes } = golden.models[model]!;
  return names.map((name, n) => {
    const shape = shapes[n]!;
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => {
      const v = Math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n) * (shape.length === 2 ? 0.4 : 0.1);
      return name.endsWith('LayerNorm.weight') ? 1 + v : v;
    });
    return { name, shape, values };
  });
}

export const writeWeights = (path: string, tensors: Stored[], dtype: FloatFormat = 'F32'): Promise<void> =>
  writeSafetensors(join(path, 'model.safetensors'), tensors.map(({ name, shape, values }) => ({
    name, dtype, shape, read: (first: number, rows: number) => values.subarray(first * (shape[1] ?? 1), (first + rows) * (shape[1] ?? 1)),
  })));

/** A folder of that model with the tokenizer of the goldens: PairRM-hf's layout, or with `ranker` the original one. */
export async function pairRmFolder(path: string, model = MODELS[0]!, o: { config?: Record<string, unknown>; ranker?: boolean; edit?: (tensors: Stored[]) => Stored[] } = {}): Promise<string> {
  mkdirSync(path, { recursive: true });
  const { config } = golden.models[model]!;
  const { architectures: _, model_type: __, vocab_size: ___, ...numbers } = config;
  const ranker = { ranker_type: 'pairranker', model_type: 'deberta', model_name: 'microsoft/deberta-v3-large', drop_out: 0.05, ...numbers };
  writeFileSync(join(path, 'config.json'), JSON.stringify({ ...(o.ranker ? ranker : config), source_maxlength: golden.limits.source, candidate_maxlength: golden.limits.candidate, ...o.config }));
  for (const [file, json] of Object.entries(golden.tokenizer)) writeFileSync(join(path, `${file}.json`), JSON.stringify(json));
  await writeWeights(path, (o.edit ?? ((t) => t))(pairRmWeights(model)));
  return path;
}
