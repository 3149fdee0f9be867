import { join } from 'node:path';

/** Part i of n, counted from 0. */
export interface Shard {
  index: number;
  of: number;
}

/** Sidecar files are rolled over at this size. */
export const ROLL_BYTES = 4 * 1024 ** 3;

const stem = (split: string, shard: Shard | undefined): string => (shard ? `ref.${split}.shard-${shard.index}-of-${shard.of}` : `ref.${split}`);
export const tablePath = (dir: string, split: string, shard?: Shard): string => join(dir, `${stem(split, shard)}.ndjson`);
export const sidecarPath = (dir: string, split: string, file: number, shard?: Shard): string => join(dir, `${stem(split, shard)}.hidden-${String(file).padStart(5, '0')}.bin`);

/** Pairs [begin, end) of a shard: contiguous, so that merged files equal whole ones. */
export const shardRange = (pairs: number, shard: Shard | undefined): [number, number] =>
  shard ? [Math.floor((pairs * shard.index) / shard.of), Math.floor((pairs * (shard.index + 1)) / shard.of)] : [0, pairs];

export const parseShard = (text: string | undefined): Shard | undefined => {
  if (text === undefined) return undefined;
  const [index, of] = text.split('/').map(Number) as [number, number];
  return { index, of };
};

/** One pair's line; of a single response with a label, `chosen`, and `rejected` is 0. Offsets in bytes, checksum in hex. */
export interface CacheLine {
  id: number;
  prompt: number;
  chosen: number;
  rejected: number;
  chosen_logps: number[];
  rejected_logps: number[];
  /** Log-probs of another row's responses under this prompt (KTO): of its first and, in pairs, of its second. */
  mismatched_logps?: number[][];
  hidden?: { file: number; offset: number; rows: number; crc32c: string };
}
