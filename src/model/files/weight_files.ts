import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { InputError, InputErrors } from '../../errors.js';
import type { ParameterSpec } from '../families/spec.js';
import { writeAtomic } from './atomic.js';
import type { FloatFormat } from './float_formats.js';
import { SafetensorsFile } from './safetensors.js';

/** config.json of a model folder. Throws InputError where there is no such folder or file. */
export function readConfig(path: string): Record<string, unknown> {
  const hint = 'a model folder holds config.json, *.safetensors and tokenizer.json';
  if (!existsSync(path)) throw new InputError(`model folder ${path} does not exist`, hint);
  if (!statSync(path).isDirectory()) throw new InputError(`${path} is a file; a model folder was expected`, hint);
  const configPath = join(path, 'config.json');
  if (!existsSync(configPath)) throw new InputError(`${path} has no config.json`, hint);
  return parseConfig(configPath);
}

/** The file itself. */
export function parseConfig(configPath: string): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(configPath, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new InputError(`${configPath} is no JSON: ${(cause as Error).message}`, 'copy or download the file again');
  }
}

/** The tensors of a folder, in one or many safetensors files. */
export class WeightFiles {
  /** Tensor name → file, in the order of the files. */
  private readonly where = new Map<string, SafetensorsFile>();
  readonly files: SafetensorsFile[];

  /**
   * Reads the headers. Throws InputError(s) where files are missing or broken.
   * @param passBy names of tensors that may be of any type and are not looked at (index buffers).
   */
  constructor(readonly path: string, passBy?: RegExp) {
    this.files = weightFiles(path).map((f) => SafetensorsFile.open(join(path, f), passBy));
    for (const file of this.files) for (const name of file.tensors.keys()) this.where.set(name, file);
  }

  get names(): string[] {
    return [...this.where.keys()];
  }
  dtypeOf(name: string): FloatFormat | undefined {
    return this.where.get(name)?.tensors.get(name)?.dtype as FloatFormat | undefined;
  }
  shapeOf(name: string): number[] | undefined {
    return this.where.get(name)?.tensors.get(name)?.shape;
  }

  /** Throws InputErrors naming every tensor that is missing or of another shape, and with `closed` every other there is. */
  check(specs: ParameterSpec[], closed = false): void {
    const problems: string[] = [];
    for (const p of specs) {
      const shape = this.shapeOf(p.name);
      if (!shape) problems.push(`${p.name}: missing, expected [${p.shape.join(', ')}]`);
      else if (shape.join() !== p.shape.join()) problems.push(`${p.name}: expected [${p.shape.join(', ')}] from config.json, got [${shape.join(', ')}]`);
    }
    const known = new Set(specs.map((p) => p.name));
    if (closed) for (const name of this.names) if (!known.has(name)) problems.push(`${name}: not a tensor of this model, [${this.shapeOf(name)!.join(', ')}]`);
    if (problems.length > 0) {
      throw new InputErrors(`${this.path}: ${problems.length} tensors do not fit config.json`, problems.slice(0, 20), 'is this config.json the one these weights were saved with?');
    }
  }

  /** Rows of a parameter as f32; NaN or infinity in the file is an error that names the tensor. */
  readF32(p: ParameterSpec, first = 0, rows?: number): Float32Array {
    const file = this.where.get(p.name)!;
    const values = file.readF32(p.name, first, rows);
    for (let i = 0; i < values.length; i++) {
      if (!Number.isFinite(values[i]!)) {
        throw new InputError(`${file.path}: tensor ${p.name} holds ${values[i]} (element ${i + first * (p.shape[1] ?? 1)})`, 'these weights are broken; use another checkpoint');
      }
    }
    return values;
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
  const names = readdirSync(path).filter((f) => f.endsWith('.safetensors') && !/^(edpo|adapter)_/.test(f)).sort();
  if (names.length === 0) {
    const pickled = readdirSync(path).find((f) => /\.(bin|pt|pth|ckpt|pkl)$/.test(f) && !f.startsWith('training_args'));
    if (pickled === undefined) throw new InputError(`${path} has no weights: no *.safetensors file`, 'a model folder holds config.json, *.safetensors and tokenizer.json');
    throw new InputError(
      `${path} has no *.safetensors file, only pickled weights (${pickled}), which edpo never opens: unpickling runs whatever code is in them`,
      `if you trust them, convert them once: python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('${path}').save_pretrained('${path}')"`,
    );
  }
  return names;
}
