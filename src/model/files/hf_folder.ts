import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { EdpoError, InputError, InputErrors } from '../../errors.js';
import { modelSpec, type ModelSpec } from '../families/index.js';
import type { ParameterSpec } from '../families/spec.js';
import { writeAtomic } from './atomic.js';
import { bytesPer, type FloatFormat } from './float_formats.js';
import { SafetensorsFile, writeSafetensors, type TensorSource } from './safetensors.js';
import { joinStored, readStored, storedSpecs } from './stored.js';

/** Files that travel with weights unchanged. */
const AUXILIARY = /^(tokenizer.*|special_tokens_map\.json|generation_config\.json|chat_template.*|added_tokens\.json|vocab\.(json|txt)|merges\.txt|.*\.model)$/;
export const WRITTEN_DTYPES = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' } as const;

/** A checkpoint folder in the Hugging Face layout: config.json and one or many safetensors files. */
export class ModelFolder {
  private constructor(
    readonly path: string,
    readonly config: Record<string, unknown>,
    readonly spec: ModelSpec,
    /** Tensor name → file, in the order of the files. */
    private readonly where: Map<string, SafetensorsFile>,
    readonly files: SafetensorsFile[],
  ) {}

  /**
   * Opens and checks everything that needs no weight to be read. Throws InputError(s).
   * @param adapt what of the model is wanted, where that is not the whole of it (a reward model has no language head).
   */
  static open(path: string, adapt: (spec: ModelSpec, config: Record<string, unknown>) => ModelSpec = (spec) => spec): ModelFolder {
    const hint = 'a model folder holds config.json, *.safetensors and tokenizer.json';
    if (!existsSync(path)) throw new InputError(`model folder ${path} does not exist`, hint);
    if (!statSync(path).isDirectory()) throw new InputError(`${path} is a file; a model folder was expected`, hint);
    const configPath = join(path, 'config.json');
    if (!existsSync(configPath)) throw new InputError(`${path} has no config.json`, hint);
    let config: Record<string, unknown>;
    try {
      config = JSON.parse(readFileSync(configPath, 'utf8')) as Record<string, unknown>;
    } catch (cause) {
      throw new InputError(`${configPath} is no JSON: ${(cause as Error).message}`, 'copy or download the file again');
    }
    const spec = adapt(modelSpec(config, configPath), config);
    const names = weightFiles(path);
    const files = names.map((f) => SafetensorsFile.open(join(path, f)));
    const where = new Map<string, SafetensorsFile>();
    for (const file of files) for (const name of file.tensors.keys()) where.set(name, file);
    const folder = new ModelFolder(path, config, spec, where, files);
    folder.checkShapes();
    return folder;
  }

  private checkShapes(): void {
    const problems: string[] = [];
    for (const p of storedSpecs(this.spec)) {
      const entry = this.where.get(p.name)?.tensors.get(p.name);
      if (!entry) problems.push(`${p.name}: missing, expected [${p.shape.join(', ')}]`);
      else if (entry.shape.join() !== p.shape.join()) problems.push(`${p.name}: expected [${p.shape.join(', ')}] from config.json, got [${entry.shape.join(', ')}]`);
    }
    if (problems.length > 0) {
      throw new InputErrors(`${this.path}: ${problems.length} tensors do not fit config.json`, problems.slice(0, 20), 'is this config.json the one these weights were saved with?');
    }
  }

  /** Rows of a parameter as f32; NaN or infinity in the file is an error that names the tensor. */
  readF32(p: ParameterSpec, first = 0, rows?: number): Float32Array {
    return readStored(this.spec, p, (q, from, n) => this.readTensor(q, from, n), first, rows);
  }

  private readTensor(p: ParameterSpec, first = 0, rows?: number): Float32Array {
    const file = this.where.get(p.name)!;
    const values = file.readF32(p.name, first, rows);
    for (let i = 0; i < values.length; i++) {
      if (!Number.isFinite(values[i]!)) {
        throw new InputError(`${file.path}: tensor ${p.name} holds ${values[i]} (element ${i + first * (p.shape[1] ?? 1)})`, 'these weights are broken; use another checkpoint');
      }
    }
    return values;
  }

  /** The format most weights are stored in. */
  get dtype(): FloatFormat {
    return this.files[0]!.tensors.values().next().value!.dtype;
  }

  /**
   * SHA-256 over names, formats, shapes and bytes of the weights in name order. Remembered in the user's cache by size,
   * time and inode of the files, because hashing gigabytes at every start is slow.
   */
  weightsHash(): string {
    const stamp = this.files.map((f) => {
      const s = statSync(f.path, { bigint: true });
      return `${f.path}:${s.size}:${s.mtimeNs}:${s.ino}`;
    });
    const key = createHash('sha256').update(stamp.join('\n')).digest('hex');
    const memory = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'edpo', 'hashes', key);
    try {
      // A file that a kill left empty or torn is no hash.
      const known = readFileSync(memory, 'utf8');
      if (/^[0-9a-f]{64}$/.test(known)) return known;
    } catch {
      // Not hashed yet.
    }
    const hash = createHash('sha256');
    for (const name of [...this.where.keys()].sort()) {
      const file = this.where.get(name)!;
      const { dtype, shape } = file.tensors.get(name)!;
      hash.update(`${name} ${dtype} ${shape.join()}\n`);
      for (const chunk of file.rawChunks(name)) hash.update(chunk);
    }
    const digest = hash.digest('hex');
    try {
      mkdirSync(join(memory, '..'), { recursive: true });
      writeAtomic(memory, digest);
    } catch {
      // Without a writable cache the hash is made again next time.
    }
    return digest;
  }

  get auxiliary(): string[] {
    return readdirSync(this.path).filter((f) => AUXILIARY.test(f));
  }

  close(): void {
    for (const file of this.files) file.close();
  }
}

function weightFiles(path: string): string[] {
  const index = join(path, 'model.safetensors.index.json');
  if (existsSync(index)) {
    let map: { weight_map?: Record<string, string> };
    try {
      map = JSON.parse(readFileSync(index, 'utf8')) as typeof map;
    } catch (cause) {
      throw new InputError(`${index} is no JSON: ${(cause as Error).message}`, 'copy or download the file again');
    }
    const names = [...new Set(Object.values(map.weight_map ?? {}))];
    const missing = names.filter((f) => !existsSync(join(path, f)));
    if (missing.length > 0) throw new InputErrors(`${path}: files named by model.safetensors.index.json are missing`, missing);
    return names;
  }
  const names = readdirSync(path).filter((f) => f.endsWith('.safetensors') && !f.startsWith('edpo_')).sort();
  if (names.length === 0) {
    throw new InputError(`${path} has no weights: no *.safetensors file${readdirSync(path).some((f) => f.endsWith('.bin')) ? ' (PyTorch .bin files are not read)' : ''}`, 'save the model with safe_serialization=True');
  }
  return names;
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
  writeFileSync(join(dir, 'config.json'), `${JSON.stringify({ ...o.base.config, [key]: names[dtype] }, null, 2)}\n`);
  for (const file of o.base.auxiliary) copyFileSync(join(o.base.path, file), join(dir, file));
  if (order.length !== specs.size) throw new EdpoError(`internal: ${specs.size - order.length} parameters were not written`);
}
const pad = (n: number): string => String(n).padStart(5, '0');
