import { existsSync, readdirSync } from 'node:fs';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import { parameterSpecs } from '../model/families/spec.js';
import { writeFolderAtomic } from '../model/files/atomic.js';
import { writeModelFolder } from '../model/files/hf_folder.js';
import { openModel } from '../model/models.js';
import type { CliIo } from './io.js';
import { Progress } from './progress.js';

/** `edpo merge`: a base with a LoRA adapter on it as a whole model, W + s·B·A; no GPU needed. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  const { folder } = await openModel(config.model_name_or_path!, config, io);
  const { adapter } = folder;
  if (!adapter) throw new InputError(`${config.model_name_or_path!} is no LoRA adapter: there is nothing to merge`, '--model_name_or_path ADAPTER, or --model_name_or_path BASE --adapter_name_or_path ADAPTER');
  const dir = config.output_dir!;
  if (existsSync(dir) && readdirSync(dir).length > 0) throw new InputError(`${dir} is not empty`, 'another --output_dir');
  const rounded = config.save_dtype === 'auto' ? folder.dtype : undefined;
  if (rounded && rounded !== 'F32') io.say(`note: written in ${rounded === 'BF16' ? 'bfloat16' : 'float16'} as the base is, which rounds the sum; --save_dtype float32 keeps it`);
  if (adapter.folder.storage !== undefined) io.say(`note: the adapter was trained on a base with ${adapter.folder.storage}; it is merged into the base’s own weights, as is usual with QLoRA, so the merged model is not quite what was trained`);
  const specs = new Map(parameterSpecs(folder.spec).map((p) => [p.name, p]));
  const progress = new Progress(io, 'merge', specs.size);
  let count = 0;
  await writeFolderAtomic(dir, (partial) => writeModelFolder(partial, {
    base: folder, dtype: config.save_dtype,
    read: async (name) => {
      progress.update(++count);
      return folder.readF32(specs.get(name)!);
    },
  }));
  io.say(`${adapter.settings.targets.length} matrices of ${folder.path} merged${adapter.settings.saved ? `, ${adapter.settings.saved.length} tensors taken from the adapter` : ''}`);
  io.out(JSON.stringify({ output_dir: dir, base: folder.path, adapter: adapter.folder.path, merged: adapter.settings.targets.length }));
  folder.close();
  return 0;
}
