import { readFileSync } from 'node:fs';
import type { CliIo } from '../../cli/io.js';
import type { RunConfig } from '../../config/keys.js';
import { InputError } from '../../errors.js';
import { datasetFiles, diskTree, type DatasetChoice, type FileTree } from '../data/files.js';
import { HubClient } from './client.js';
import { isHubId, repoOf, type Repo } from './names.js';
import { hubSettings } from './settings.js';
import { openSnapshot, type Snapshot } from './snapshot.js';

export { isHubId } from './names.js';

type HubKeys = Partial<Pick<RunConfig, 'offline' | 'model_revision' | 'dataset_revision'>>;

/** Looked up once a process: a training and an evaluation split are of the same commit. */
const opened = new Map<string, Promise<Snapshot>>();
function snapshotOf(repo: Repo, offline: boolean, io: CliIo): Promise<Snapshot> {
  const key = JSON.stringify(repo);
  const known = opened.get(key);
  if (known) return known;
  const snapshot = openSnapshot(repo, new HubClient(hubSettings(offline), io));
  opened.set(key, snapshot);
  return snapshot;
}

/** What a model needs beside its weights: configuration, tokenizer, templates; at the top of its repository. */
const BESIDE = /^(config\.json|ranker_config\.json|tokenizer.*|special_tokens_map\.json|generation_config\.json|chat_template.*|added_tokens\.json|vocab\.(json|txt)|merges\.txt|adapter_config\.json|.*\.model)$/;
const INDEX = 'model.safetensors.index.json';

/**
 * Folder of a model: a path as it is, a hub id as its snapshot in the cache, downloaded where it is not there.
 * @param name folder, `org/name` or `org/name@revision`
 * @param o offline; model_revision (branch, tag or commit; for the policy, whose key it is)
 */
export async function localModel(name: string, o: HubKeys, io: CliIo): Promise<string> {
  const repo = repoOf('model', name, o.model_revision);
  if (!repo) return unusedRevision(name, 'model_revision', o.model_revision, io);
  const snapshot = await snapshotOf(repo, o.offline ?? false, io);
  const top = snapshot.paths.filter((p) => !p.includes('/'));
  const weights = top.filter((p) => p.endsWith('.safetensors'));
  if (weights.length === 0) {
    const others = top.filter((p) => /\.(bin|pt|pth|gguf|onnx|h5|msgpack)$/.test(p));
    throw new InputError(`${repo.id}@${repo.revision} has no *.safetensors file${others.length > 0 ? ` (but ${others.slice(0, 3).join(', ')}, which edpo does not read)` : ''}`, 'another revision may (ORG/NAME@REVISION), or save it with save_pretrained and name the folder');
  }
  const beside = top.filter((p) => BESIDE.test(p) && !p.endsWith('.safetensors'));
  if (!top.includes(INDEX)) {
    await snapshot.bring([...beside, ...(weights.includes('model.safetensors') ? ['model.safetensors'] : weights)], io);
    return snapshot.local();
  }
  // The index says which of the weights are the model (some repositories hold them twice).
  await snapshot.bring([...beside, INDEX], io);
  let map: Record<string, string>;
  try {
    map = (JSON.parse(readFileSync(snapshot.local(INDEX), 'utf8')) as { weight_map: Record<string, string> }).weight_map;
  } catch (cause) {
    throw new InputError(`${repo.id}: ${INDEX} is no JSON: ${(cause as Error).message}`, 'use another revision: ORG/NAME@REVISION');
  }
  const shards = [...new Set(Object.values(map ?? {}))];
  const missing = shards.filter((p) => !top.includes(p));
  // Without the hub, what is missing is missing from the cache; `bring` says so.
  if (missing.length > 0 && !snapshot.cachedOnly) throw new InputError(`${repo.id}@${repo.revision}: ${missing.join(', ')}, named by ${INDEX}, is not in the repository`, 'use another revision: ORG/NAME@REVISION');
  await snapshot.bring(shards, io);
  return snapshot.local();
}

/** A model's config.json: beside its weights, a file of that kind by itself, or of a hub id, which is all that is downloaded. */
export async function localConfig(name: string, o: HubKeys, io: CliIo): Promise<string> {
  const repo = repoOf('model', name, o.model_revision);
  if (!repo) return unusedRevision(name, 'model_revision', o.model_revision, io);
  const snapshot = await snapshotOf(repo, o.offline ?? false, io);
  if (!snapshot.paths.includes('config.json') && !snapshot.cachedOnly) throw new InputError(`${repo.id}@${repo.revision} has no config.json`, 'name a model in the Hugging Face layout; of an adapter its base');
  await snapshot.bring(['config.json'], io);
  return snapshot.local();
}

/**
 * Files of a split: of a path as they are, of a hub id downloaded into the cache, the split's alone.
 * data_files may name files here and files of the repository.
 */
export async function localDataset(choice: DatasetChoice, o: HubKeys, io: CliIo): Promise<string[]> {
  const repo = choice.name === undefined ? undefined : repoOf('dataset', choice.name, o.dataset_revision);
  if (!repo) {
    if (choice.name !== undefined) unusedRevision(choice.name, 'dataset_revision', o.dataset_revision, io);
    return datasetFiles(choice);
  }
  if (choice.dataFiles?.length && choice.dataFiles.every((f) => diskTree.kind(f) === 'file')) return datasetFiles({ ...choice, name: undefined });
  const snapshot = await snapshotOf(repo, o.offline ?? false, io);
  const chosen = datasetFiles({ ...choice, name: repo.id }, repoTree(repo.id, snapshot.paths));
  const inRepo = (f: string): boolean => f.startsWith(`${repo.id}/`) && diskTree.kind(f) === undefined;
  const paths = chosen.filter(inRepo).map((f) => f.slice(repo.id.length + 1));
  await snapshot.bring(paths, io);
  return chosen.map((f) => (inRepo(f) ? snapshot.local(f.slice(repo.id.length + 1)) : f));
}

/** A repository's files as if they stood in a folder of its name, before any is here; other paths are of the disk. */
function repoTree(id: string, paths: string[]): FileTree {
  const inside = (path: string): string | undefined => (path === id ? '' : path.startsWith(`${id}/`) ? path.slice(id.length + 1).replace(/\/+$/, '') : undefined);
  const under = (folder: string): string[] => paths.filter((p) => folder === '' || p.startsWith(`${folder}/`)).map((p) => (folder === '' ? p : p.slice(folder.length + 1)));
  return {
    kind: (path) => {
      const inner = inside(path);
      if (inner === undefined) return diskTree.kind(path);
      return paths.includes(inner) ? 'file' : inner === '' || under(inner).length > 0 ? 'folder' : undefined;
    },
    list: (path) => {
      const inner = inside(path);
      return inner === undefined ? diskTree.list(path) : [...new Set(under(inner).map((p) => p.split('/')[0]!))];
    },
  };
}

function unusedRevision(name: string, key: string, revision: string | undefined, io: CliIo): string {
  // "main" is what TRL's files say without meaning it.
  if (revision !== undefined && revision !== 'main' && !isHubId(name)) io.say(`note: ${key}: not used (${name} is no hub id)`);
  return name;
}
