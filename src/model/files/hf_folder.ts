import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EdpoError, InputError } from '../../errors.js';
import { modelSpec, type ModelSpec } from '../families/index.js';
import type { ParameterSpec } from '../families/spec.js';
import type { LoraSettings } from '../lora.js';
import { mergeRows, type AdapterFolder } from './adapter_folder.js';
import { bytesPer, type FloatFormat } from './float_formats.js';
import { withKeys } from './json_numbers.js';
import { writeSafetensors, type TensorSource } from './safetensors.js';
import { joinStored, readStored, storedSpecs, withoutPrefix } from './stored.js';
import { readConfig, WeightFiles } from './weight_files.js';

/** Files that travel with weights unchanged. */
const AUXILIARY = /^(tokenizer.*|special_tokens_map\.json|generation_config\.json|chat_template.*|added_tokens\.json|vocab\.(json|txt)|merges\.txt|.*\.model)$/;
export const WRITTEN_DTYPES = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' } as const;

/** Masks and angles that older checkpoints hold, some as booleans; they follow from config.json. */
const BUFFERS = /\.(attn|attention)\.(bias|masked_bias)$|rotary_emb\.inv_freq$/;

/** Weights that another program has quantised are refused by the name config.json gives them. */
export function refuseQuantised(config: Record<string, unknown>, where: string): void {
  const quantisation = config['quantization_config'] as Record<string, unknown> | null | undefined;
  if (!quantisation) return;
  const { quant_method: method, bits } = quantisation;
  throw new InputError(
    `${where}: quantization_config says the weights are quantised (${String(method ?? 'by an unnamed method')}${bits === undefined ? '' : `, ${String(bits)} bits`}); edpo reads float32, float16 and bfloat16`,
    'take the checkpoint that the quantised one was made from',
  );
}

/** A checkpoint folder in the Hugging Face layout: config.json and one or many safetensors files. */
export class ModelFolder extends WeightFiles {
  readonly spec: ModelSpec;
  /** A LoRA adapter on these weights, which are read as W + s·B·A then. */
  readonly adapter: { folder: AdapterFolder; settings: LoraSettings } | undefined;

  private constructor(path: string, readonly config: Record<string, unknown>, spec: ModelSpec, beside: string[]) {
    super(path, BUFFERS);
    const bare = spec.prefix !== undefined && !this.names.some((name) => name.startsWith(spec.prefix!));
    this.spec = bare ? withoutPrefix(spec) : spec;
    this.checkHead();
    const others = [this.spec.names.head, ...beside].filter((name) => this.shapeOf(name)).map((name): ParameterSpec => ({ name, shape: this.shapeOf(name)!, table: false }));
    this.check([...others, ...storedSpecs(this.spec)], true);
  }

  /** A head of its own or the embedding: config.json and the files must say the same. */
  private checkHead(): void {
    const { tied, names, V, D } = this.spec;
    const [head, embed] = [names.head, names.embed].map((name) => this.shapeOf(name)?.join());
    if (!tied && embed && !head) {
      throw new InputError(`${this.path} has no ${names.head}, and its config.json does not say that the head is the embedding`, 'if it is, put "tie_word_embeddings": true into config.json; if not, these weights are not whole');
    }
    if (!tied || !head || embed !== head || embed !== `${V},${D}`) return;
    const part = Math.max(1, Math.floor((16 << 20) / (4 * D)));
    for (let first = 0; first < V; first += part) {
      const [a, b] = [names.head, names.embed].map((name) => this.readTensor({ name, shape: [V, D], table: true }, first, Math.min(part, V - first))) as [Float32Array, Float32Array];
      const at = a.findIndex((v, i) => v !== b[i]);
      if (at >= 0) throw new InputError(`${this.path}: config.json says tie_word_embeddings, but ${names.head} is not ${names.embed} (row ${first + Math.floor(at / D)} differs)`, 'put "tie_word_embeddings": false into config.json if the head is one of its own');
    }
  }

  /** Rows of a parameter as f32, an adapter's share in it; NaN or infinity in the file is an error that names the tensor. */
  override readF32(p: ParameterSpec, first = 0, rows?: number): Float32Array {
    const values = readStored(this.spec, p, (q, from, n) => this.readTensor(q, from, n), first, rows);
    return this.adapter ? mergeRows(this.spec, this.adapter, p, values, first) : values;
  }

  /** The same of a tensor as the files have it. */
  private readTensor(p: ParameterSpec, first?: number, rows?: number): Float32Array {
    return super.readF32(p, first, rows);
  }

  /** The same without an adapter. */
  get base(): ModelFolder {
    return this.adapter ? (Object.getPrototypeOf(this) as ModelFolder) : this;
  }

  /** This model with an adapter on it. @throws InputError(s) where it is not for this model */
  withAdapter(folder: AdapterFolder): ModelFolder {
    const settings = folder.settings(this.spec, this.path, () => this.weightsHash());
    return Object.create(this, { adapter: { value: { folder, settings }, enumerable: true } }) as ModelFolder;
  }

  /** Where tokenizer and chat template are: beside the adapter if it brought its own. */
  get tokenizerPath(): string {
    return this.adapter && existsSync(join(this.adapter.folder.path, 'tokenizer.json')) ? this.adapter.folder.path : this.path;
  }

  /**
   * Opens and checks everything that needs no weight to be read. Throws InputError(s).
   * @param adapt what of the model is wanted, where that is not the whole of it (a reward model has no language head).
   * @param beside tensors that may be there beside the model's.
   */
  static open(path: string, adapt: (spec: ModelSpec, config: Record<string, unknown>) => ModelSpec = (spec) => spec, beside: string[] = []): ModelFolder {
    const config = readConfig(path);
    const where = join(path, 'config.json');
    refuseQuantised(config, where);
    return new ModelFolder(path, config, adapt(modelSpec(config, where), config), beside);
  }

  /** The format a parameter has in the files. */
  formatOf(p: ParameterSpec): FloatFormat {
    return this.dtypeOf(this.spec.stored?.[p.name]?.name ?? p.name)!;
  }

  /** The format most weights are stored in. */
  get dtype(): FloatFormat {
    return this.files[0]!.tensors.values().next().value!.dtype as FloatFormat;
  }

  override weightsHash(): string {
    return this.adapter ? createHash('sha256').update(`${this.base.weightsHash()} ${this.adapter.folder.hash()}`).digest('hex') : super.weightsHash();
  }

  override close(): void {
    this.adapter?.folder.close();
    super.close();
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
  const specs = new Map(storedSpecs(o.base.spec).map((p) => [p.name, p]));
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
        held ??= joinStored(o.base.spec, name, o.read);
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
  writeFileSync(join(dir, 'config.json'), `${withKeys(readFileSync(join(o.base.path, 'config.json'), 'utf8'), { [key]: names[dtype] })}\n`);
  copyAuxiliary(o.base, dir);
  if (order.length !== specs.size) throw new EdpoError(`internal: ${specs.size - order.length} parameters were not written`);
}
/** Copies the files that travel with weights; an adapter's own tokenizer before its base's. */
export function copyAuxiliary(folder: ModelFolder, dir: string): void {
  for (const from of new Set([folder.path, folder.tokenizerPath])) for (const file of readdirSync(from).filter((f) => AUXILIARY.test(f))) copyFileSync(join(from, file), join(dir, file));
}
const pad = (n: number): string => String(n).padStart(5, '0');
