import type { RunConfig } from '../config/keys.js';
import type { CliIo } from '../cli/io.js';
import type { Gpu } from '../gpu/device.js';
import { weightBytes } from '../gpu/packed.js';
import { parameterSpecs } from './families/spec.js';
import type { ModelFolder } from './files/hf_folder.js';
import { Adapters } from './lora.js';
import { Parameters } from './parameters.js';
import { bytesText } from './reference.js';
import { describeStorage, frozenStorage, IN_F32, lossyName, storageBytes, type FrozenSource, type Storage, type StorageKeys } from './storage.js';

/** A folder as `storage.ts` looks at it. */
const sourceOf = (folder: ModelFolder): FrozenSource => ({ spec: folder.spec, formatOf: (p) => folder.formatOf(p), adapter: folder.adapter });

/** How a folder's weights are kept where they are frozen, and whether an adapter on them runs beside them: where its sum with them could not be kept. */
export function storageOf(config: StorageKeys, folder: ModelFolder): { storage: Storage; beside: boolean; lossy: string | undefined } {
  const beside = folder.adapter !== undefined && (config.load_in_4bit || config.load_in_8bit || config.base_dtype === 'float16' || config.base_dtype === 'bfloat16');
  const source = sourceOf(beside ? folder.base : folder);
  const storage = frozenStorage(config, source);
  return { storage, beside, lossy: lossyName(storage, source) };
}

/** The weights of a folder that nothing trains, or some of them, in their storage; an adapter's share is added as they are read, or runs beside a packed base. */
export async function loadFrozen(gpu: Gpu, folder: ModelFolder, label: string, config: RunConfig, o: { io?: CliIo; only?: string[]; storage?: Storage } = {}): Promise<Parameters> {
  const { storage: own, beside } = storageOf(config, folder);
  const storage = o.storage ?? own;
  if (o.io) noteStorage(config, folder, o.io);
  const read = beside ? folder.base : folder;
  const list = parameterSpecs(folder.spec).filter((p) => !o.only || o.only.includes(p.name));
  const parameters = new Parameters(gpu, folder.spec, false, label, list, storage);
  const kept = describeStorage(storage, folder.spec);
  if (kept && o.io && !o.only) o.io.say(`${label}: ${kept}, ${bytesText(storageBytes(list, storage))} instead of ${bytesText(list.reduce((n, p) => n + weightBytes('f32', p.shape[0]!, p.shape[1] ?? 1), 0))} in float32`);
  await parameters.load((p, first, rows) => read.readF32(p, first, rows));
  gpu.check();
  if (!beside || o.only) return parameters;
  const { folder: adapter, settings } = folder.adapter!;
  const adapters = new Adapters(gpu, folder.spec, settings, false);
  await adapters.load((weight, side) => adapter.read(weight, side));
  gpu.check();
  return parameters.with(adapters);
}

/** The same for identities: `{ storage }` where the storage changes weights, nothing where it keeps them. */
export function frozenName(config: StorageKeys, folder: ModelFolder): { storage?: string } {
  const { lossy } = storageOf(config, folder);
  return lossy === undefined ? {} : { storage: lossy };
}

/** Says where an adapter meets its base in another storage than it was trained on. */
export function noteStorage(config: StorageKeys, folder: ModelFolder, io: CliIo): void {
  const trained = folder.adapter?.folder.storage;
  const { lossy } = storageOf(config, folder);
  if (folder.adapter && trained !== undefined && trained !== lossy) io.say(`note: the adapter ${folder.adapter.folder.path} was trained on a base with ${trained}; here it is ${lossy ?? 'as its files have it'} (load_in_4bit, load_in_8bit, base_dtype)`);
}

/** Where a reference moves (TR-DPO), its weights are f32. */
export const referenceStorage = (config: RunConfig): { storage?: Storage } => (config.sync_ref_model ? { storage: IN_F32 } : {});
