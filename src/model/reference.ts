import { mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { CliIo } from '../cli/io.js';
import { Progress } from '../cli/progress.js';
import type { RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { forwardShaders } from '../gpu/forward_shaders.js';
import { backEnd } from '../gpu/matrices.js';
import { TILE_ROWS } from '../gpu/ops/attention_tiles.js';
import { HEAD_TILE } from '../gpu/ops/head.js';
import { plainForm } from '../gpu/ops/matmul.js';
import { reordered } from '../gpu/paths.js';
import { planMicroBatches } from './batch/pack.js';
import { shardRange, type Shard } from './cache/files.js';
import { requireSame, type CacheHeader, type KernelFields } from './cache/header.js';
import { CacheReader } from './cache/reader.js';
import { CacheWriter } from './cache/writer.js';
import type { TokenStore } from './data/store.js';
import { encode } from './files/float_formats.js';
import { frozenName } from './frozen.js';
import type { LossDefinition } from './losses/types.js';
import type { Parameters } from './parameters.js';
import { Scorer } from './scorer.js';
import { CacheSource } from './cache/source.js';
import { documentsOf, mismatchRoom, requireBudget, sequenceCapacity, templateHash, type Inputs } from './session.js';
import { isSplit, Mismatches } from './train/documents.js';
import type { DocumentSource } from './train/types.js';

/** `train` makes no larger cache unasked. */
export const UNASKED_BYTES = 1e9;

export const kernelFields = (gpu: Gpu): KernelFields => ({
  adapter: gpu.card,
  driver: gpu.info.description,
  back_end: `${gpu.mixed ? backEnd(gpu.mixed) : plainForm(gpu) === 'tiled' ? 'tiled' : 'plain'}, ${gpu.mixed || plainForm(gpu) === 'tiled' ? `attention in tiles of ${TILE_ROWS}, ` : ''}${reordered(gpu) ? `without ${reordered(gpu)}, ` : ''}${gpu.toggles}`,
  arithmetic: gpu.mixed ? 'mixed_f16' : 'float32',
  head_tile: HEAD_TILE,
  table_split: gpu.limits.tableSplitBytes,
  shaders: forwardShaders(),
});

export const cacheFolder = (c: RunConfig): string => {
  if (c.ref_cache !== undefined) return c.ref_cache;
  if (c.output_dir !== undefined) return join(c.output_dir, 'ref_cache');
  throw new InputError('where to put the cache? neither ref_cache nor output_dir is given', '--ref_cache DIR');
};

/** The header a cache of this split must have for this run. */
export function cacheHeader(config: RunConfig, inputs: Inputs, store: TokenStore, split: string, loss: LossDefinition, kernels: KernelFields): CacheHeader {
  const hidden = loss.needs.reference === 'hidden';
  return {
    format: 'edpo-ref-cache', version: 1, split, pairs: store.count, weights: inputs.reference.weightsHash(), tokenizer: inputs.tokenizer.hash, template: templateHash(inputs.template), data: store.hash,
    max_length: config.max_length, max_prompt_length: config.max_prompt_length, truncation_mode: config.truncation_mode, tokenization: config.tokenization,
    stores: hidden ? 'hidden' : 'logps', hidden_dtype: hidden ? config.ref_cache_dtype : null, ...(loss.group?.of === 'mismatched' ? { mismatched: true } : {}), width: inputs.reference.spec.D, ...frozenName(config, inputs.reference), kernels,
  };
}

/** Bytes a cache takes, about: 11 characters a log-prob, and the states. */
export function cacheBytes(store: TokenStore, header: CacheHeader, shard?: Shard): number {
  const [begin, end] = shardRange(store.count, shard);
  let rows = 0;
  for (let i = begin; i < end; i++) rows += store.responseLengths[i]!.reduce((a, b) => a + b, 0);
  // A mismatched response is as long as one of another row's.
  if (header.mismatched) rows *= 2;
  return rows * 12 + (end - begin) * 160 + (header.stores === 'hidden' ? rows * header.width * (header.hidden_dtype === 'float16' ? 2 : 4) : 0);
}

export const bytesText = (n: number): string => (n >= 1e9 ? `${(n / 1e9).toFixed(2)} GB` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e3).toFixed(1)} kB`);

/** Announces the size and refuses where the disk has less. */
export function announceCache(dir: string, bytes: number, io: CliIo): void {
  mkdirSync(dir, { recursive: true });
  const { bavail, bsize } = statfsSync(dir);
  io.say(`reference cache ${dir}: about ${bytesText(bytes)}, ${bytesText(bavail * bsize)} free`);
  if (bytes > bavail * bsize) throw new EdpoError(`the reference cache needs about ${bytesText(bytes)} and ${dir} has ${bytesText(bavail * bsize)} free`, { exitCode: 2, hint: '--ref_cache on another disk, --ref_cache_dtype float16, or --ref_mode live' });
}

/** Documents as the reference scores them: a row's responses, and where the cache is to have them the mismatched ones under the same prompt. */
export function cacheDocuments(store: TokenStore, header: Pick<CacheHeader, 'mismatched'>, room: number): DocumentSource & { perDocument: number; lengths(i: number): number[] } {
  const own = documentsOf(store);
  if (!header.mismatched) return { ...own, perDocument: store.sides, lengths: (i) => store.responseLengths[i]! };
  const others = new Mismatches(store, room);
  const sides = store.sides === 2 ? ([0, 1] as const) : ([0] as const);
  const lengths = (i: number): number[] => [...store.responseLengths[i]!, ...sides.map((side) => others.tokens(i, side))];
  return {
    ...own, lengths, perDocument: 2 * store.sides,
    rows: (i) => lengths(i).reduce((a, b) => a + b, store.promptLengths[i]!),
    document: (i) => {
      const d = own.document(i);
      return { ...d, branches: [...d.branches, ...sides.map((side) => others.response(i, side))] };
    },
  };
}

/**
 * One pass of the reference over a split (or a shard of it), streamed to the cache; goes on where an earlier pass was cut.
 * @param stop asked between micro-batches; true ends the pass early, leaving a partial cache.
 */
export async function fillCache(dir: string, header: CacheHeader, store: TokenStore, reference: Parameters, o: { gpu: Gpu; budget: number; room: number; shard?: Shard | undefined; io: CliIo; stop?: () => boolean }): Promise<boolean> {
  const writer = CacheWriter.open(dir, header, { shard: o.shard, note: (n) => o.io.say(`note: ${n}`) });
  const [begin, end] = writer.range;
  const from = begin + writer.done;
  if (from === end) {
    writer.close();
    return true;
  }
  if (writer.done > 0) o.io.say(`continuing after ${writer.done} pairs`);
  const source = cacheDocuments(store, header, o.room);
  const capacity = { rows: o.budget, sequences: sequenceCapacity(o.budget) };
  const scorer = await new Scorer(o.gpu, reference, capacity, header.stores === 'hidden').ready();
  const progress = new Progress(o.io, `reference ${header.split}`, end - begin, writer.done);
  const format = header.hidden_dtype === 'float16' ? 'F16' : 'F32';
  const width = header.width;
  const pending: Array<() => Promise<void>> = [];
  try {
    // Micro-batches of neighbours, so that pairs are written in order as they come.
    for (let i = from; i < end && !o.stop?.(); ) {
      const members: number[] = [];
      let rows = 0;
      while (i < end && rows + source.rows(i) <= capacity.rows && (members.length + 1) * source.perDocument <= capacity.sequences) {
        rows += source.rows(i);
        members.push(i++);
      }
      if (members.length === 0) planMicroBatches([{ rows: source.rows(i), sequences: source.perDocument, id: source.id(i) }], capacity);
      const scores = scorer.submit(members.map((m) => source.document(m)));
      pending.push(async () => {
        const { logps, hidden } = await scores();
        let s = 0;
        for (const m of members) {
          const lists = source.lengths(m).map((n) => logps.subarray(s, (s += n)));
          const [chosen, rejected = new Float32Array(0)] = lists.slice(0, store.sides) as [Float32Array, Float32Array?];
          const bytes = hidden ? encode(hidden.slice((s - lists.reduce((n, l) => n + l.length, 0)) * width, (s - lists.slice(store.sides).reduce((n, l) => n + l.length, 0)) * width), format) : undefined;
          writer.append({ id: store.ids[m]!, prompt: store.promptLengths[m]!, chosen, rejected, ...(header.mismatched ? { mismatched: lists.slice(store.sides) } : {}), ...(bytes ? { hidden: bytes } : {}) });
        }
        progress.update(writer.done);
      });
      if (pending.length > 2) await pending.shift()!();
    }
    for (const write of pending) await write();
  } finally {
    writer.close();
  }
  return begin + writer.done === end;
}

/**
 * Opens the cache of a split for training or evaluation: refuses one of something else, completes a partial one, makes an
 * absent one where that is allowed. `exactTies` is false where the cache comes from other kernels than this run's.
 */
export async function ensureCache(
  config: RunConfig, inputs: Inputs, store: TokenStore, split: string, loss: LossDefinition,
  o: { gpu: Gpu; io: CliIo; reference: () => Promise<Parameters>; mayWrite: boolean; stop?: () => boolean },
): Promise<{ source: CacheSource; exactTies: boolean; kernels: string[]; rounded: boolean }> {
  const dir = cacheFolder(config);
  const want = cacheHeader(config, inputs, store, split, loss, kernelFields(o.gpu));
  let reader = CacheReader.open(dir, split);
  let kernels: string[] = [];
  if (reader) kernels = requireSame(reader.header, want, join(dir, `ref.${split}.ndjson`)).kernels;
  if (!reader || reader.count < want.pairs) {
    // A partial cache is completed as it was begun, though this method may need less.
    const fill: CacheHeader = reader ? { ...want, stores: reader.header.stores, hidden_dtype: reader.header.hidden_dtype, ...(reader.header.mismatched ? { mismatched: true } : {}) } : want;
    const bytes = cacheBytes(store, fill);
    const command = `edpo precompute-ref --ref_cache ${dir} (with this run’s model and data options)`;
    if (!o.mayWrite) throw new InputError(`${dir} has ${reader ? `${reader.count} of ${want.pairs} pairs` : 'no cache'} for split ${split}`, command);
    if (bytes > UNASKED_BYTES && !config.allow_large_cache) throw new InputError(`the reference cache would take about ${bytesText(bytes)}; train makes none over 1 GB unasked`, `${command}; or --allow_large_cache true, --ref_cache_dtype float16, --ref_mode live`);
    if (reader) o.io.say(`the reference cache is partial (${reader.count} of ${want.pairs} pairs); completing it`);
    requireBudget(cacheDocuments(store, fill, mismatchRoom(config, inputs.policy)), config.token_budget);
    announceCache(dir, bytes, o.io);
    reader?.close();
    if (!(await fillCache(dir, fill, store, await o.reference(), { gpu: o.gpu, budget: config.token_budget, room: mismatchRoom(config, inputs.policy), io: o.io, ...(o.stop ? { stop: o.stop } : {}) }))) {
      throw new EdpoError('interrupted while the reference cache was made; what is there is kept', { exitCode: 130, hint: 'the same command goes on from there' });
    }
    reader = CacheReader.open(dir, split)!;
    kernels = [];
  }
  const hidden = loss.needs.reference === 'hidden';
  return { source: new CacheSource(reader, hidden, isSplit(store, loss)), exactTies: kernels.length === 0, kernels, rounded: hidden && reader.header.hidden_dtype === 'float16' };
}
