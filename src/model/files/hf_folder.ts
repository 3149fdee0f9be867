import { copyFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EdpoError } from '../../errors.js';
import { modelSpec, type ModelSpec } from '../families/index.js';
import { parameterSpecs } from '../families/spec.js';
import { bytesPer, type FloatFormat } from './float_formats.js';
import { writeSafetensors, type TensorSource } from './safetensors.js';
import { readConfig, WeightFiles } from './weight_files.js';

/** Files that travel with weights unchanged. */
const AUXILIARY = /^(tokenizer.*|special_tokens_map\.json|generation_config\.json|chat_template.*|added_tokens\.json|vocab\.(json|txt)|merges\.txt|.*\.model)$/;
export const WRITTEN_DTYPES = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' } as const;

/** A checkpoint folder in the Hugging Face layout: config.json and one or many safetensors files. */
export class ModelFolder extends WeightFiles {
  private constructor(path: string, readonly config: Record<string, unknown>, readonly spec: ModelSpec) {
    super(path);
    this.check(parameterSpecs(spec));
  }

  /**
   * Opens and checks everything that needs no weight to be read. Throws InputError(s).
   * @param adapt what of the model is wanted, where that is not the whole of it (a reward model has no language head).
   */
  static open(path: string, adapt: (spec: ModelSpec, config: Record<string, unknown>) => ModelSpec = (spec) => spec): ModelFolder {
    const config = readConfig(path);
    return new ModelFolder(path, config, adapt(modelSpec(config, join(path, 'config.json')), config));
  }

  /** The format most weights are stored in. */
  get dtype(): FloatFormat {
    return this.files[0]!.tensors.values().next().value!.dtype;
  }

  get auxiliary(): string[] {
    return readdirSync(this.path).filter((f) => AUXILIARY.test(f));
  }
}

export interface WriteModelOptions {
  base: ModelFolder;
  dtype: keyof typeof WRITTEN_DTYPES | 'auto';
  read(name: string): Promise<Float32Array>;
  maxShardBytes?: number;
}

/** Writes config, weights (names and order of the base) and tokenizer files into an existing folder. */
export async function writeModelFolder(dir: string, o: WriteModelOptions): Promise<void> {
  const specs = new Map(parameterSpecs(o.base.spec).map((p) => [p.name, p]));
  const dtype: FloatFormat = o.dtype === 'auto' ? o.base.dtype : WRITTEN_DTYPES[o.dtype];
  const order = o.base.files.flatMap((f) => [...f.tensors.keys()]).filter((name) => specs.has(name));
  const shards: TensorSource[][] = [[]];
  let bytes = 0;
  for (const name of order) {
    const { shape } = specs.get(name)!;
    const size = shape.reduce((a, b) => a * b, bytesPer[dtype]);
    if (bytes > 0 && bytes + size > (o.maxShardBytes ?? 5e9)) {
      shards.push([]);
      bytes = 0;
    }
    bytes += size;
    const width = shape.slice(1).reduce((a, b) => a * b, 1);
    let held: Promise<Float32Array> | undefined;
    shards.at(-1)!.push({
      name, dtype, shape,
      read: async (first, rows) => {
        held ??= o.read(name);
        const values = (await held).subarray(first * width, (first + rows) * width);
        if (first + rows >= (shape[0] ?? 1)) held = undefined;
        return values;
      },
    });
  }
  const total = order.reduce((n, name) => n + specs.get(name)!.shape.reduce((a, b) => a * b, bytesPer[dtype]), 0);
  const map: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const file = shards.length === 1 ? 'model.safetensors' : `model-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`;
    await writeSafetensors(join(dir, file), shard);
    for (const t of shard) map[t.name] = file;
  }
  if (shards.length > 1) writeFileSync(join(dir, 'model.safetensors.index.json'), `${JSON.stringify({ metadata: { total_size: total }, weight_map: map }, null, 2)}\n`);
  const names: Record<FloatFormat, string> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };
  const key = 'dtype' in o.base.config && !('torch_dtype' in o.base.config) ? 'dtype' : 'torch_dtype';
  writeFileSync(join(dir, 'config.json'), `${JSON.stringify({ ...o.base.config, [key]: names[dtype] }, null, 2)}\n`);
  for (const file of o.base.auxiliary) copyFileSync(join(o.base.path, file), join(dir, file));
  if (order.length !== specs.size) throw new EdpoError(`internal: ${specs.size - order.length} parameters were not written`);
}
const pad = (n: number): string => String(n).padStart(5, '0');
