import type { RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import { CacheReader } from '../model/cache/reader.js';
import { requireSame } from '../model/cache/header.js';
import { threadsOfEach } from '../model/data/row_threads.js';
import type { TokenStore } from '../model/data/store.js';
import { loadFrozen } from '../model/frozen.js';
import { lockFolder } from '../model/files/lock.js';
import { parseShard, tablePath } from '../model/cache/files.js';
import { mergeShards, shardedSplits } from '../model/cache/merge.js';
import { compositionProblem, lossNames } from '../model/losses/modifiers/compose.js';
import type { LossDefinition } from '../model/losses/types.js';
import type { Parameters } from '../model/parameters.js';
import { announceCache, cacheBytes, cacheDocuments, cacheFolder, cacheHeader, fillCache, kernelFields } from '../model/reference.js';
import { hasEvalData, lossOf, mismatchRoom, openDevice, openInputs, openSplit, requireBudget, sidesOf, useDtype, type Inputs } from '../model/session.js';
import { chosenAdapters, runOnAdapters } from './adapter_processes.js';
import type { CliIo } from './io.js';

type Split = 'train' | 'eval';

/** `edpo precompute-ref`: fills (or completes, or merges) the reference cache of every split there is data for, or of those of `only`. */
export async function run(asked: RunConfig, io: CliIo, only?: Split[]): Promise<number> {
  const adapters = asked.adapters ? await chosenAdapters(asked.adapters) : [];
  if (adapters.length > 1) return shared(asked, adapters, io);
  const config = adapters.length === 1 ? { ...asked, adapter: adapters[0]! } : asked;
  const dir = cacheFolder(config);
  if (config.merge_shards) {
    const splits = shardedSplits(dir);
    if (splits.size === 0) throw new InputError(`${dir} holds no shards`, 'edpo precompute-ref --shard i/n makes them');
    for (const [split, of] of splits) io.say(`${split}: ${mergeShards(dir, split, of)} pairs of ${of} shards merged`);
    return 0;
  }
  const { loss, inputs, stores } = await openAll(config, io, only);
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
    const room = mismatchRoom(config, inputs.policy);
    const headers = new Map([...stores].map(([split, store]) => [split, cacheHeader(config, inputs, store, split, loss, kernelFields(gpu))]));
    for (const [split, store] of stores) requireBudget(cacheDocuments(store, headers.get(split)!, room), config.token_budget);
    announceCache(dir, [...stores].reduce((n, [split, store]) => n + cacheBytes(store, headers.get(split)!, shard), 0), io);
    let reference: Parameters | undefined;
    for (const [split, store] of stores) {
      reference ??= await loadFrozen(gpu, inputs.reference, 'reference', config, { io });
      const whole = await fillCache(dir, headers.get(split)!, store, reference, { gpu, budget: config.token_budget, room, shard, io, stop: () => interrupted });
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

async function openAll(config: RunConfig, io: CliIo, only?: Split[]): Promise<{ loss: LossDefinition; inputs: Inputs; stores: Map<Split, TokenStore> }> {
  const loss = cacheLoss(config);
  if (loss.needs.reference === 'none') throw new InputError(`${loss.name} needs nothing of a reference`, '--loss_type sigmoid or epsilon_dpo');
  const inputs = await openInputs(config, io);
  const splits = only ?? (['train', ...(hasEvalData(config) ? ['eval'] : [])] as Split[]);
  return { loss, inputs, stores: new Map(await series(splits, async (split) => [split, await openSplit(config, inputs, split, sidesOf(loss), io)] as const)) };
}

/** A shard for each adapter, all at once, joined at the end; what an earlier run has is kept, whole splits and parts of shards. */
async function shared(config: RunConfig, adapters: string[], io: CliIo): Promise<number> {
  const dir = cacheFolder(config);
  const { loss, inputs, stores } = await openAll(config, io);
  const unlock = lockFolder(dir, (n) => io.say(`note: ${n}`));
  let interrupted = false;
  const undo = io.onInterrupt((signal) => {
    interrupted = true;
    io.say(`${signal}: finishing the micro-batches under way`);
  });
  try {
    const left: Split[] = [];
    for (const [split, store] of stores) {
      const reader = CacheReader.open(dir, split);
      if (reader) requireSame(reader.header, cacheHeader(config, inputs, store, split, loss, reader.header.kernels), tablePath(dir, split));
      if (!reader || reader.count < store.count) left.push(split);
      reader?.close();
    }
    // Each process reads the data anew: they share the cores.
    const dataset_num_proc = threadsOfEach(config.dataset_num_proc, adapters.length);
    if (left.length > 0) await runOnAdapters(adapters.map((adapter, i) => ({ kind: 'precompute-ref', splits: left, config: { ...config, adapters: undefined, adapter, dataset_num_proc, shard: `${i}/${adapters.length}` } })), io, { stopped: () => interrupted });
    if (interrupted) throw new EdpoError(`interrupted; ${dir} keeps what is done`, { exitCode: 130, hint: 'the same command goes on from there' });
    for (const [split, store] of stores) {
      if (left.includes(split)) {
        mergeShards(dir, split, adapters.length, { mixed: true });
        io.say(`${split}: ${adapters.length} parts joined`);
      }
      const reader = CacheReader.open(dir, split)!;
      const mixed = Object.entries(reader.header.kernels).filter(([, v]) => String(v).includes(' + ')).map(([k]) => k);
      reader.close();
      if (mixed.length > 0) io.say(`note: the parts of ${split} come from kernels that differ (${mixed.join(', ')}): log-probs agree to rounding, but ties between policy and reference are not exact with any one of them (criterion: deadzone)`);
      io.out(JSON.stringify({ split, file: tablePath(dir, split), pairs: store.count }));
    }
    return 0;
  } finally {
    undo();
    unlock();
  }
}

/** Several losses are no mixture here: a cache for all of them holds what any needs. */
function cacheLoss(config: RunConfig): LossDefinition {
  const names = lossNames(config);
  if (names.length === 1 || !compositionProblem(config)) return lossOf(config);
  const each = names.map((loss_type) => lossOf({ ...config, loss_type, loss_weights: undefined }));
  const strongest = (['hidden', 'logps', 'none'] as const).find((r) => each.some((l) => l.needs.reference === r))!;
  const mismatched = each.find((l) => l.group?.of === 'mismatched')?.group;
  return { ...each[0]!, name: names.join(', '), needs: { ...each[0]!.needs, reference: strongest, unpaired: each.every((l) => l.needs.unpaired === true) }, ...(mismatched ? { group: mismatched } : {}) };
}

async function series<T, U>(items: T[], f: (item: T) => Promise<U>): Promise<U[]> {
  const out: U[] = [];
  for (const item of items) out.push(await f(item));
  return out;
}
