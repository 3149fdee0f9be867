import type { RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import { loadFrozen } from '../model/frozen.js';
import { lockFolder } from '../model/files/lock.js';
import { parseShard, tablePath } from '../model/cache/files.js';
import { mergeShards, shardedSplits } from '../model/cache/merge.js';
import type { Parameters } from '../model/parameters.js';
import { announceCache, cacheBytes, cacheFolder, cacheHeader, fillCache } from '../model/reference.js';
import { documentsOf, hasEvalData, lossOf, openDevice, openInputs, openSplit, requireBudget, useDtype } from '../model/session.js';
import type { CliIo } from './io.js';

/** `edpo precompute-ref`: fills (or completes, or merges) the reference cache of every split there is data for. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  const dir = cacheFolder(config);
  if (config.merge_shards) {
    const splits = shardedSplits(dir);
    if (splits.size === 0) throw new InputError(`${dir} holds no shards`, 'edpo precompute-ref --shard i/n makes them');
    for (const [split, of] of splits) io.say(`${split}: ${mergeShards(dir, split, of)} pairs of ${of} shards merged`);
    return 0;
  }
  const loss = lossOf(config);
  if (loss.needs.reference === 'none') throw new InputError(`${loss.name} needs nothing of a reference`, '--loss_type sigmoid or epsilon_dpo');
  const inputs = await openInputs(config, io);
  const splits = ['train', ...(hasEvalData(config) ? ['eval'] : [])] as Array<'train' | 'eval'>;
  const stores = new Map(await series(splits, async (split) => [split, await openSplit(config, inputs, split, 2, io)] as const));
  for (const store of stores.values()) requireBudget(documentsOf(store), config.token_budget);
  const shard = parseShard(config.shard);
  // Shards of one folder may run at once: each has files of its own.
  const unlock = shard ? (): void => undefined : lockFolder(dir, (n) => io.say(`note: ${n}`));
  let interrupted = false;
  const undo = io.onInterrupt((signal) => {
    interrupted = true;
    io.say(`${signal}: finishing the micro-batches under way`);
  });
  try {
    const gpu = useDtype(await openDevice(config, io), config);
    const headers = new Map([...stores].map(([split, store]) => [split, cacheHeader(config, inputs, store, split, loss, gpu)]));
    announceCache(dir, [...stores].reduce((n, [split, store]) => n + cacheBytes(store, headers.get(split)!, shard), 0), io);
    let reference: Parameters | undefined;
    for (const [split, store] of stores) {
      reference ??= await loadFrozen(gpu, inputs.reference, 'reference', config, { io });
      const whole = await fillCache(dir, headers.get(split)!, store, reference, { gpu, budget: config.token_budget, shard, io, stop: () => interrupted });
      if (!whole) throw new EdpoError(`interrupted; ${tablePath(dir, split, shard)} keeps what is done`, { exitCode: 130, hint: 'the same command goes on from there' });
      io.out(JSON.stringify({ split, file: tablePath(dir, split, shard), pairs: store.count }));
    }
    gpu.close();
    return 0;
  } finally {
    undo();
    unlock();
  }
}

async function series<T, U>(items: T[], f: (item: T) => Promise<U>): Promise<U[]> {
  const out: U[] = [];
  for (const item of items) out.push(await f(item));
  return out;
}
