import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { CliIo } from '../cli/io.js';
import type { RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import { AdapterFolder, type BaseName } from './files/adapter_folder.js';
import { modelSpec, type ModelSpec } from './families/index.js';
import { ModelFolder, refuseQuantised } from './files/hf_folder.js';
import { parseConfig, readConfig } from './files/weight_files.js';
import { isHubId, localConfig, localModel } from './hub/index.js';
import { repoOf } from './hub/names.js';

type Keys = Partial<Pick<RunConfig, 'offline' | 'model_revision' | 'adapter_name_or_path'>>;

/** A hub id's repository and revision, a path as it is: how an adapter names its base. */
function baseName(name: string, revision: string | undefined): BaseName {
  const repo = repoOf('model', name, revision);
  return repo ? { name: repo.id, revision: repo.revision === 'main' ? undefined : repo.revision } : { name, revision: undefined };
}

/** A model, and the name of its base: its own, or the one its adapter records. */
export interface OpenedModel {
  folder: ModelFolder;
  base: BaseName;
}

/**
 * Opens a model by folder or hub id. An adapter's folder is its base with the adapter on it: the base is the one adapter_config.json names,
 * or, with `adapter_name_or_path`, the model itself.
 */
export async function openModel(name: string, o: Keys, io: CliIo): Promise<OpenedModel> {
  const offline = o.offline ?? false;
  const path = await localModel(name, { ...o, offline }, io);
  if (o.adapter_name_or_path !== undefined) {
    if (AdapterFolder.isOne(path)) throw new InputError(`model_name_or_path ${name} is an adapter itself, and adapter_name_or_path names another one`, 'edpo merge makes a whole model of the first');
    const adapter = AdapterFolder.open(await localModel(o.adapter_name_or_path, { offline }, io));
    const base = baseName(name, o.model_revision);
    const folder = ModelFolder.open(path).withAdapter(adapter);
    if (!adapter.recordsHash && adapter.base.name !== base.name) io.warn(`the adapter ${adapter.path} was trained on ${adapter.base.name || 'a base it does not name'} and is used on ${name}; their shapes agree`);
    return { folder, base };
  }
  if (!AdapterFolder.isOne(path)) return { folder: ModelFolder.open(path), base: baseName(name, o.model_revision) };
  const adapter = AdapterFolder.open(path);
  return { folder: ModelFolder.open(await basePath(adapter, offline, io)).withAdapter(adapter), base: adapter.base };
}

/** What a model is made of, by its config.json alone: of a folder, a file, or a hub id. No weights need to be there. */
export async function openConfig(name: string, o: Keys, io: CliIo): Promise<ModelSpec> {
  const path = await localConfig(name, { ...o, offline: o.offline ?? false }, io);
  if (AdapterFolder.isOne(path) && !existsSync(join(path, 'config.json'))) throw new InputError(`${name} is a LoRA adapter`, `--model_name_or_path ${AdapterFolder.open(path).base.name || 'BASE'}`);
  const alone = path.endsWith('.json') && statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  const where = alone ? path : join(path, 'config.json');
  const config = alone ? parseConfig(path) : readConfig(path);
  refuseQuantised(config, where);
  return modelSpec(config, where);
}

/** The base an adapter names: a path from here or from the adapter's folder, or a hub id. */
async function basePath(adapter: AdapterFolder, offline: boolean, io: CliIo): Promise<string> {
  const { name, revision } = adapter.base;
  const hint = `--model_name_or_path BASE --adapter_name_or_path ${adapter.path}`;
  if (name === '') throw new InputError(`the adapter ${adapter.path} names no base (base_model_name_or_path)`, hint);
  const beside = join(adapter.path, name);
  if (!existsSync(name) && existsSync(beside)) return beside;
  if (!existsSync(name) && !isHubId(name)) throw new InputError(`the adapter ${adapter.path} is for the base ${name}, which is not there`, hint);
  try {
    return await localModel(name, { offline, ...(revision === undefined ? {} : { model_revision: revision }) }, io);
  } catch (error) {
    if (!(error instanceof EdpoError)) throw error;
    throw new InputError(`the adapter ${adapter.path} is for the base ${name}: ${error.message}`, hint, error);
  }
}
