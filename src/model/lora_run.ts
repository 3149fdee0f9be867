import type { CliIo } from '../cli/io.js';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { frozenName, loadFrozen, noteStorage } from './frozen.js';
import { parameterCount, parameterSpecs, type ModelSpec } from './families/spec.js';
import { writeAdapterFolder } from './files/adapter_writer.js';
import { writeModelFolder } from './files/hf_folder.js';
import { adapterCount, adapterParameters, Adapters, initialAdapter, loraScale, loraTargets, moduleOf, savedOf, savedTensors, type LoraSettings } from './lora.js';
import type { LoraMemory } from './memory_advice.js';
import type { Parameters } from './parameters.js';
import { bytesText } from './reference.js';
import { loadWeights, type Inputs } from './session.js';
import { IN_F32, storageBytes, trainedStorage, type FrozenSource } from './storage.js';

/** The adapters a run trains: by its configuration, or those of the adapter it continues; undefined where all weights are trained. Says which. */
export function loraOf(config: RunConfig, { policy }: Inputs, io: CliIo): LoraSettings | undefined {
  const { adapter, spec } = policy;
  if (!config.use_peft) {
    if (adapter) throw new InputError(`${adapter.folder.path} is a LoRA adapter, and this run would train all weights`, '--use_peft true continues the adapter; edpo merge makes a whole model of it');
    return undefined;
  }
  const lora = adapter?.settings ?? loraSettings(spec, config);
  const names = [...new Set(lora.targets.map((t) => moduleOf(t).split('.').at(-1)!))];
  if (adapter) io.say(`continuing the adapter ${adapter.folder.path}; rank, alpha and modules are its own`);
  io.say(`LoRA: r ${lora.r}, scale ${Number(loraScale(lora).toPrecision(4))}, on ${lora.targets.length} matrices (${names.join(', ')}): ${adapterCount(spec, lora)} of ${parameterCount(spec)} parameters are trained${lora.saved ? `, ${[...new Set(lora.saved.map((t) => moduleOf(t).split('.').at(-1)!))].join(', ')} in full` : ''}`);
  return lora;
}

/** New adapters by the configuration. @throws InputError where modules match nothing */
export function loraSettings(spec: ModelSpec, c: RunConfig): LoraSettings {
  const targets = loraTargets(spec, c.lora_target_modules);
  const saved = c.lora_modules_to_save?.length ? { saved: savedTensors(spec, c.lora_modules_to_save, targets) } : {};
  return { r: c.lora_r, alpha: c.lora_alpha, rslora: c.use_rslora, targets, ...saved };
}

/** Is the reference the run's own frozen base? */
export const sharesBase = ({ policy, reference }: Inputs, lora: LoraSettings | undefined): boolean => lora !== undefined && reference === policy.base;

/** TRL's DPO trainer switches every dropout off unless told otherwise, that of adapters too; its SFT trainer does not. */
export const dropoutOf = (c: RunConfig): number => (c.loss_type !== 'sft' && c.disable_dropout ? 0 : c.lora_dropout);

/** The adapters that a configuration gives a model without one, whose reference is their own base unless another is named. */
export function adaptersOf(spec: ModelSpec, c: RunConfig): LoraMemory {
  if (!c.use_peft) return undefined;
  const lora = loraSettings(spec, c);
  return { rank: c.lora_r, parameters: adapterCount(spec, lora), targets: lora.targets, saved: lora.saved, list: adapterParameters(spec, lora).list, dropout: dropoutOf(c), shared: c.ref_model_name_or_path === undefined };
}

export const loraMemory = (config: RunConfig, inputs: Inputs, lora: LoraSettings | undefined): LoraMemory =>
  lora && { rank: lora.r, dropout: dropoutOf(config), parameters: adapterCount(inputs.policy.spec, lora), targets: lora.targets, saved: lora.saved, list: adapterParameters(inputs.policy.spec, lora).list, shared: sharesBase(inputs, lora) };

/** Says how matrices are trained, and where that already changes them. */
function noteMaster(config: RunConfig, { spec, formatOf }: FrozenSource, io: CliIo): void {
  if (config.master_dtype === 'float32') return;
  const list = parameterSpecs(spec);
  io.say(`policy: matrices trained in bfloat16 with stochastic rounding, ${bytesText(storageBytes(list, trainedStorage(config)))} instead of ${bytesText(storageBytes(list, IN_F32))} in float32`);
  const rounded = [...new Set(list.filter((p) => p.shape.length === 2).map(formatOf).filter((f) => f !== 'BF16'))];
  if (rounded.length > 0) io.say(`note: the model’s files are ${rounded.join(' and ')}: the policy begins rounded to bfloat16, and so does the reference with --base_dtype bfloat16`);
}

/** The policy to train and its weights without adapters: the same model where all weights are trained. */
export async function loadPolicy(gpu: Gpu, { policy: folder }: Inputs, lora: LoraSettings | undefined, config: RunConfig, io: CliIo): Promise<{ policy: Parameters; base: Parameters }> {
  if (!lora) {
    noteMaster(config, { spec: folder.spec, formatOf: (p) => folder.formatOf(p) }, io);
    const policy = await loadWeights(gpu, folder, 'policy', config);
    return { policy, base: policy };
  }
  noteStorage(config, folder, io);
  const base = await loadFrozen(gpu, folder.base, 'policy', config, { io });
  const adapters = new Adapters(gpu, folder.spec, lora, true, dropoutOf(config));
  const from = folder.adapter?.folder;
  const { spec } = folder;
  // What is trained in full begins as the base is kept.
  const own = new Map<string, Float32Array>();
  for (const { name } of from ? [] : parameterSpecs(spec)) {
    const saved = savedOf(spec, lora, name);
    if (saved !== undefined) own.set(saved, await base.read(name));
  }
  await adapters.load((weight, side, shape) => from?.read(weight, side) ?? (side === 'saved' ? own.get(weight)! : initialAdapter(spec, weight, side, shape, config.seed)));
  gpu.check();
  return { policy: base.with(adapters), base };
}

/** Writes what a run has trained into a folder: a whole model, or an adapter. */
export function writeTrained(dir: string, config: RunConfig, { policy: model, baseName }: Inputs, lora: LoraSettings | undefined, policy: Parameters): Promise<void> {
  if (lora) return writeAdapterFolder(dir, { model, baseName, settings: lora, dropout: dropoutOf(config), dtype: config.save_dtype, ...frozenName(config, model.base), read: (name) => policy.adapters!.read(name) });
  return writeModelFolder(dir, { base: model, dtype: config.save_dtype, read: (name) => policy.read(name) });
}
