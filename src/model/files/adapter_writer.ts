import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelSpec } from '../families/index.js';
import { adapterSpecs, loraTargets, moduleOf, savedTensors, type LoraSettings } from '../lora.js';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE_HASH, BASE_STORAGE, type BaseName } from './adapter_folder.js';
import { copyAuxiliary, WRITTEN_DTYPES, type ModelFolder } from './hf_folder.js';
import { writeSafetensors } from './safetensors.js';

/** Names for target_modules: the last parts where these say the same, as PEFT's own defaults are; else whole paths. */
function targetModules(spec: ModelSpec, targets: string[]): string[] {
  const names = [...new Set(targets.map((t) => moduleOf(t).split('.').at(-1)!))].sort();
  return loraTargets(spec, names).length === targets.length ? names : targets.map(moduleOf).sort();
}

/** Names for modules_to_save: the last parts where these say the same, as PEFT matches ends; else whole paths. */
function modulesToSave(spec: ModelSpec, { targets, saved }: LoraSettings): string[] | null {
  if (!saved) return null;
  const paths = [...new Set(saved.map(moduleOf))].sort();
  const names = [...new Set(paths.map((path) => path.split('.').at(-1)!))].sort();
  try {
    return savedTensors(spec, names, targets).length === saved.length ? names : paths;
  } catch {
    return paths;
  }
}

export interface WriteAdapterOptions {
  /** The model as it started: the frozen base, maybe with an adapter that was continued. */
  model: ModelFolder;
  baseName: BaseName;
  settings: LoraSettings;
  dropout: number;
  /** How the base was kept, where that changed its weights. */
  storage?: string | undefined;
  dtype: keyof typeof WRITTEN_DTYPES | 'auto';
  read(name: string): Promise<Float32Array>;
}

/** Writes adapter_config.json, adapter_model.safetensors (names and order as PEFT's) and the tokenizer files into an existing folder. */
export async function writeAdapterFolder(dir: string, o: WriteAdapterOptions): Promise<void> {
  const { spec } = o.model;
  const { r, alpha, rslora, targets } = o.settings;
  const dtype = o.dtype === 'auto' ? 'F32' : WRITTEN_DTYPES[o.dtype];
  // PEFT's word for weights stored [in, out]; A and B are the same either way.
  const transposed = Object.values(spec.stored ?? {}).some((s) => s.transposed);
  const specs = adapterSpecs(spec, o.settings).sort((x, y) => (x.name < y.name ? -1 : 1));
  const tensors = specs.map(({ name, shape }) => ({
    name, dtype, shape,
    read: async (first: number, rows: number) => {
      const width = shape[1] ?? 1;
      return (await o.read(name)).subarray(first * width, (first + rows) * width);
    },
  }));
  await writeSafetensors(join(dir, ADAPTER_WEIGHTS), tensors, { format: 'pt', [BASE_HASH]: o.model.base.weightsHash(), ...(o.storage === undefined ? {} : { [BASE_STORAGE]: o.storage }) });
  const config = {
    alpha_pattern: {}, auto_mapping: null, base_model_name_or_path: o.baseName.name, bias: 'none', fan_in_fan_out: transposed, inference_mode: true, init_lora_weights: true, layers_pattern: null, layers_to_transform: null,
    lora_alpha: alpha, lora_dropout: o.dropout, modules_to_save: modulesToSave(spec, o.settings), peft_type: 'LORA', r, rank_pattern: {}, revision: o.baseName.revision ?? null, target_modules: targetModules(spec, targets), task_type: 'CAUSAL_LM',
    use_dora: false, use_rslora: rslora,
  };
  writeFileSync(join(dir, ADAPTER_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  copyAuxiliary(o.model, dir);
}
