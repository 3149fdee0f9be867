import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../../errors.js';
import { shardRange, tablePath, type Shard } from './files.js';
import { headerDifferences, joinedKernels } from './header.js';
import { CacheReader } from './reader.js';
import { CacheWriter } from './writer.js';

/** Splits of a folder that lie there in shards, with their number. */
export function shardedSplits(dir: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const name of existsSync(dir) ? readdirSync(dir) : []) {
    const match = /^ref\.(.+)\.shard-\d+-of-(\d+)\.ndjson$/.exec(name);
    if (match) found.set(match[1]!, Number(match[2]));
  }
  return found;
}

/**
 * Joins the shards of a split into whole files with the bytes an unsharded pass writes; shards are removed after.
 * @param mixed parts of several adapters are wanted: the header then names them all
 */
export function mergeShards(dir: string, split: string, of: number, { roll, mixed = false }: { roll?: number | undefined; mixed?: boolean } = {}): number {
  const readers = Array.from({ length: of }, (_, index) => {
    const shard: Shard = { index, of };
    const reader = CacheReader.open(dir, split, shard);
    if (!reader) throw new InputError(`${tablePath(dir, split, shard)} is missing`, `edpo precompute-ref --shard ${index}/${of} makes it`);
    const [begin, end] = shardRange(reader.header.pairs, shard);
    if (reader.count !== end - begin) throw new InputError(`shard ${index}/${of} of ${split} has ${reader.count} of ${end - begin} pairs`, `edpo precompute-ref --shard ${index}/${of} --resume completes it`);
    return reader;
  });
  const header = { ...readers[0]!.header, kernels: joinedKernels(readers.map((r) => r.header.kernels)) };
  for (const [i, r] of readers.entries()) {
    const { fields, kernels } = headerDifferences(r.header, readers[0]!.header);
    if (fields.length + (mixed ? 0 : kernels.length) > 0) throw new InputError(`shards 0 and ${i} of ${split} differ in ${[...fields, ...kernels].join(', ')}; they are not parts of one cache`);
  }
  rmSync(tablePath(dir, split), { force: true });
  const writer = CacheWriter.open(dir, header, roll === undefined ? {} : { roll });
  for (const reader of readers) {
    for (let i = 0; i < reader.count; i++) {
      const line = reader.line(i);
      writer.append({
        id: line.id, prompt: line.prompt, chosen: Float32Array.from(line.chosen_logps), rejected: Float32Array.from(line.rejected_logps),
        ...(line.mismatched_logps ? { mismatched: line.mismatched_logps.map((list) => Float32Array.from(list)) } : {}),
        ...(line.hidden ? { hidden: reader.hiddenBytes(line) } : {}),
      });
    }
    reader.close();
  }
  writer.close();
  for (const name of readdirSync(dir)) if (name.startsWith(`ref.${split}.shard-`)) rmSync(join(dir, name));
  return writer.done;
}
