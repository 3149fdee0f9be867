import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, InputErrors } from '../../errors.js';
import type { ModelSpec } from '../families/index.js';
import type { ParameterSpec } from '../families/spec.js';
import { adaptable, adapterName, adapterOf, adapterSpecs, loraScale, savedOf, savedTensors, type AdapterSide, type LoraSettings } from '../lora.js';
import { SafetensorsFile } from './safetensors.js';

export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';
/** Metadata of the weights file: SHA-256 of the base's weights (`ModelFolder.weightsHash`). */
export const BASE_HASH = 'edpo_base_weights';
/** Metadata: how the base was kept while the adapter was trained, where that changed its weights (`lossyName`). */
export const BASE_STORAGE = 'edpo_base_storage';

/** What of adapter_config.json asks for more than A and B on matrices; a value that asks for nothing is fine. */
const UNAVAILABLE = ['use_dora', 'use_qalora', 'lora_bias', 'rank_pattern', 'alpha_pattern', 'layer_replication', 'trainable_token_indices', 'alora_invocation_tokens', 'target_parameters', 'arrow_config'];
const asksForNothing = (v: unknown): boolean => v === undefined || v === null || v === false || (typeof v === 'object' && Object.keys(v as object).length === 0);

/** The model an adapter is for, as adapter_config.json names it. */
export interface BaseName {
  name: string;
  revision: string | undefined;
}

/** A LoRA adapter in PEFT's layout: adapter_config.json and adapter_model.safetensors. */
export class AdapterFolder {
  private constructor(
    readonly path: string,
    readonly base: BaseName,
    private readonly rank: number,
    private readonly alpha: number,
    private readonly rslora: boolean,
    /** Modules trained in full. */
    private readonly modules: string[],
    private readonly file: SafetensorsFile,
  ) {}

  static isOne(path: string): boolean {
    return existsSync(join(path, ADAPTER_CONFIG));
  }

  /** Opens and checks what needs no base. Throws InputError(s). */
  static open(path: string): AdapterFolder {
    const configPath = join(path, ADAPTER_CONFIG);
    if (!AdapterFolder.isOne(path)) throw new InputError(`${path} has no ${ADAPTER_CONFIG}, so it is no LoRA adapter`, 'a folder as edpo train --use_peft true or PEFT’s save_pretrained writes it');
    let c: Record<string, unknown>;
    try {
      c = JSON.parse(readFileSync(configPath, 'utf8')) as Record<string, unknown>;
    } catch (cause) {
      throw new InputError(`${configPath} is no JSON: ${(cause as Error).message}`, 'copy or download the file again');
    }
    const problems = UNAVAILABLE.filter((key) => !asksForNothing(c[key])).map((key) => `${key}: not available, got ${JSON.stringify(c[key])}`);
    if (c['peft_type'] !== 'LORA') problems.push(`peft_type: expected "LORA", got ${JSON.stringify(c['peft_type'] ?? null)}`);
    if (c['bias'] !== undefined && c['bias'] !== 'none') problems.push(`bias: trained biases are not available, got ${JSON.stringify(c['bias'])}`);
    // These begin by changing the base's weights, and the adapter alone does not say how.
    if (/^(pissa|olora|corda|loftq|lora_ga)/.test(String(c['init_lora_weights']))) problems.push(`init_lora_weights: a changed base is not available, got ${JSON.stringify(c['init_lora_weights'])}`);
    const [rank, alpha, base, revision] = [c['r'], c['lora_alpha'], c['base_model_name_or_path'], c['revision']];
    if (!Number.isInteger(rank) || (rank as number) < 1) problems.push(`r: expected a whole number above 0, got ${JSON.stringify(rank ?? null)}`);
    if (typeof alpha !== 'number' || !(alpha > 0)) problems.push(`lora_alpha: expected a number above 0, got ${JSON.stringify(alpha ?? null)}`);
    const modules = c['modules_to_save'] ?? [];
    if (!Array.isArray(modules) || !modules.every((m) => typeof m === 'string')) problems.push(`modules_to_save: expected a list of names, got ${JSON.stringify(modules)}`);
    if (problems.length > 0) throw new InputErrors(`${configPath}: not an adapter edpo has`, problems, 'merge it in PEFT (merge_and_unload) and name the merged model');
    if (!existsSync(join(path, ADAPTER_WEIGHTS))) throw new InputError(`${path} has no ${ADAPTER_WEIGHTS}${existsSync(join(path, 'adapter_model.bin')) ? ' (PyTorch .bin files are not read)' : ''}`, 'save the adapter with safe_serialization=True');
    return new AdapterFolder(path, { name: typeof base === 'string' ? base : '', revision: typeof revision === 'string' ? revision : undefined }, rank as number, alpha as number, c['use_rslora'] === true, modules as string[], SafetensorsFile.open(join(path, ADAPTER_WEIGHTS)));
  }

  /**
   * What it puts on a model of this shape, by its tensors.
   * @param hash of the base's weights, asked only where the adapter has recorded one
   * @throws InputError(s) where they do not fit, or the base is another one than it was trained on
   */
  settings(spec: ModelSpec, where: string, hash: () => string): LoraSettings {
    const { tensors } = this.file;
    const targets = adaptable(spec).map((p) => p.name).filter((weight) => tensors.has(adapterName(weight, 'A')) || tensors.has(adapterName(weight, 'B')));
    const saved = this.modules.length > 0 ? { saved: savedTensors(spec, this.modules, targets) } : {};
    const settings = { r: this.rank, alpha: this.alpha, rslora: this.rslora, targets, ...saved };
    const known = new Map(adapterSpecs(spec, settings).map((p) => [p.name, p.shape]));
    const problems = [...known].flatMap(([name, shape]) => {
      const got = tensors.get(name)?.shape;
      return got?.join() === shape.join() ? [] : [`${name}: ${got ? `expected [${shape.join(', ')}], got [${got.join(', ')}]` : `missing, expected [${shape.join(', ')}]`}`];
    });
    for (const name of tensors.keys()) if (!known.has(name)) problems.push(`${name}: the base has no such ${name.includes('.lora_') ? 'matrix' : 'tensor, or modules_to_save does not name it'}`);
    const trained = this.base.name === '' ? 'it names no base' : `it was trained on ${this.base.name}`;
    if (problems.length > 0) throw new InputErrors(`the adapter ${this.path} does not fit ${where} (${trained})`, [...problems.slice(0, 12), ...(problems.length > 12 ? [`and ${problems.length - 12} more`] : [])], '--model_name_or_path BASE --adapter_name_or_path ADAPTER, with the base the adapter was trained on');
    if (targets.length === 0) throw new InputError(`${this.file.path} holds no adapter for any matrix`, 'train it again, or name another folder');
    const recorded = this.file.metadata[BASE_HASH];
    if (recorded !== undefined && recorded !== hash()) {
      throw new InputError(`the adapter ${this.path} was trained on other weights than those of ${where}: ${trained}, SHA-256 ${recorded.slice(0, 12)}…, these have ${hash().slice(0, 12)}…`, '--model_name_or_path BASE --adapter_name_or_path ADAPTER, with the base the adapter was trained on');
    }
    return settings;
  }

  /** How its base was kept in training; undefined where that changed nothing, or nobody says. */
  get storage(): string | undefined {
    return this.file.metadata[BASE_STORAGE];
  }

  /** Is the base proven by its hash? PEFT records a name alone. */
  get recordsHash(): boolean {
    return BASE_HASH in this.file.metadata;
  }

  /** A or B of a weight, or a tensor trained in full, row-major; NaN or infinity is an error that names the tensor. */
  read(weight: string, side: AdapterSide): Float32Array {
    const values = this.file.readF32(adapterName(weight, side));
    const bad = values.findIndex((v) => !Number.isFinite(v));
    if (bad >= 0) throw new InputError(`${this.file.path}: tensor ${adapterName(weight, side)} holds ${values[bad]} (element ${bad})`, 'this adapter is broken; use another checkpoint');
    return values;
  }

  /** SHA-256 over scale, names, formats, shapes and bytes of the adapters in name order. */
  hash(): string {
    const hash = createHash('sha256').update(`${this.rank} ${this.alpha} ${this.rslora}\n`);
    for (const name of [...this.file.tensors.keys()].sort()) {
      const { dtype, shape } = this.file.tensors.get(name)!;
      hash.update(`${name} ${dtype} ${shape.join()}\n`);
      for (const chunk of this.file.rawChunks(name)) hash.update(chunk);
    }
    return hash.digest('hex');
  }

  close(): void {
    this.file.close();
  }
}

/** Rows of W + s·B·A, summed in f64 and rounded once, or those the adapter has trained in full. `values` are the rows of W from `first` on. */
export function mergeRows(spec: ModelSpec, { folder, settings }: { folder: AdapterFolder; settings: LoraSettings }, p: ParameterSpec, values: Float32Array, first: number): Float32Array {
  const I = p.shape[1] ?? 1;
  const saved = savedOf(spec, settings, p.name);
  if (saved !== undefined) return folder.read(saved, 'saved').slice(first * I, first * I + values.length);
  const adapter = adapterOf(spec, settings, p.name, (weight, side) => folder.read(weight, side), first, values.length / I);
  if (!adapter) return values;
  const { a, b } = adapter;
  const { r } = settings;
  const s = loraScale(settings);
  const out = new Float32Array(values.length);
  const row = new Float64Array(I);
  for (let o = 0; o < values.length / I; o++) {
    row.set(values.subarray(o * I, (o + 1) * I));
    for (let k = 0; k < r; k++) {
      const factor = s * b[o * r + k]!;
      if (factor === 0) continue;
      for (let i = 0; i < I; i++) row[i]! += factor * a[k * I + i]!;
    }
    out.set(row, o * I);
  }
  return out;
}
