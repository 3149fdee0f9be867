import { closeSync, existsSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { EdpoError } from '../../errors.js';
import { writeFailure } from '../files/atomic.js';
import { crc32c } from '../files/crc32c.js';
import { shortestF32 } from '../files/float_formats.js';
import { ROLL_BYTES, shardRange, sidecarPath, tablePath, type CacheLine, type Shard } from './files.js';
import { requireSame, type CacheHeader } from './header.js';
import { scanTable } from './scan.js';

/** What a pair adds to the cache. `hidden`: bytes of [chosen + rejected, D] in the header's format, little-endian. */
export interface CachePair {
  id: number;
  prompt: number;
  chosen: Float32Array;
  rejected: Float32Array;
  hidden?: Uint8Array;
  mismatched?: Float32Array[];
}

const SYNC_EVERY = 64 << 20;

/**
 * Appends pairs to a cache: the sidecar first, then the line that points into it, so that a line stands only for data that is
 * there. After a kill the next `open` drops a torn line and what lies past the last whole pair, and goes on.
 */
export class CacheWriter {
  private readonly table: number;
  private sidecar: number | undefined;
  private sinceSync = 0;

  private constructor(
    private readonly dir: string,
    readonly header: CacheHeader,
    private readonly shard: Shard | undefined,
    private readonly roll: number,
    /** Pairs already written. */
    public done: number,
    private tableBytes: number,
    private file: number,
    private fileBytes: number,
  ) {
    this.table = openSync(tablePath(dir, header.split, shard), 'r+');
  }

  /**
   * Starts a cache or continues a partial one. Throws EdpoError if what is there was made from something else.
   * @param note is told what was dropped.
   */
  static open(dir: string, header: CacheHeader, o: { shard?: Shard | undefined; roll?: number; note?: (text: string) => void } = {}): CacheWriter {
    const path = tablePath(dir, header.split, o.shard);
    const roll = o.roll ?? ROLL_BYTES;
    try {
      mkdirSync(dir, { recursive: true });
      const first = Buffer.from(`${JSON.stringify(header)}\n`);
      let scan = existsSync(path) ? scanTable(path) : undefined;
      if (!scan?.header) {
        // Nothing, or not even a whole header: start over.
        const fd = openSync(path, 'w');
        writeSync(fd, first);
        closeSync(fd);
        for (let f = 0; existsSync(sidecarPath(dir, header.split, f, o.shard)); f++) rmSync(sidecarPath(dir, header.split, f, o.shard));
        return new CacheWriter(dir, header, o.shard, roll, 0, first.length, 0, 0);
      }
      const { kernels } = requireSame(scan.header, header, path);
      if (kernels.length > 0) {
        throw new EdpoError(`${path} was begun on another ${kernels.join(', ')}; one cache must come from one adapter`, { exitCode: 2, hint: 'finish it where it was begun, or delete it' });
      }
      let { count, end } = scan;
      if (scan.torn > 0) o.note?.(`${path}: dropped ${scan.torn} bytes of a line cut short`);
      let file = 0;
      let fileBytes = 0;
      while (count > 0) {
        const line = JSON.parse(readLine(path, scan.offsets[count - 1]!, end)) as CacheLine;
        if (!line.hidden) break;
        file = line.hidden.file;
        fileBytes = line.hidden.offset + line.hidden.rows * bytesPerRow(header);
        const sidecar = sidecarPath(dir, header.split, file, o.shard);
        if (existsSync(sidecar) && statSync(sidecar).size >= fileBytes) break;
        // The line reached the disk and its states did not: the pair is made again.
        o.note?.(`${path}: pair ${line.id} lost its hidden states and is made again`);
        count--;
        end = scan.offsets[count]!;
        file = 0;
        fileBytes = 0;
      }
      const fd = openSync(path, 'r+');
      ftruncateSync(fd, end);
      closeSync(fd);
      for (let f = file; existsSync(sidecarPath(dir, header.split, f, o.shard)); f++) {
        const sidecar = openSync(sidecarPath(dir, header.split, f, o.shard), 'r+');
        ftruncateSync(sidecar, f === file ? fileBytes : 0);
        closeSync(sidecar);
        if (f > file || fileBytes === 0) rmSync(sidecarPath(dir, header.split, f, o.shard));
      }
      return new CacheWriter(dir, header, o.shard, roll, count, end, file, fileBytes);
    } catch (cause) {
      throw writeFailure(path, cause);
    }
  }

  /** Pairs this writer is to hold, counted from the split's start. */
  get range(): [number, number] {
    return shardRange(this.header.pairs, this.shard);
  }

  append(pair: CachePair): void {
    for (const list of [pair.chosen, pair.rejected, ...(pair.mismatched ?? [])]) {
      if (!list.every(Number.isFinite)) {
        throw new EdpoError(`the reference gives pair ${pair.id} a log-prob that is not finite`, { hint: 'look at that row with edpo inspect, and at the reference’s weights' });
      }
    }
    const path = tablePath(this.dir, this.header.split, this.shard);
    try {
      const logps = (list: Float32Array): string => Array.from(list, shortestF32).join(',');
      let hidden = '';
      if (pair.hidden) {
        if (this.fileBytes > 0 && this.fileBytes + pair.hidden.length > this.roll) {
          this.sync();
          if (this.sidecar !== undefined) closeSync(this.sidecar);
          this.sidecar = undefined;
          this.file++;
          this.fileBytes = 0;
        }
        this.sidecar ??= openSync(sidecarPath(this.dir, this.header.split, this.file, this.shard), this.fileBytes > 0 ? 'r+' : 'w+');
        writeWhole(this.sidecar, pair.hidden, this.fileBytes);
        const rows = pair.chosen.length + pair.rejected.length;
        hidden = `,"hidden":{"file":${this.file},"offset":${this.fileBytes},"rows":${rows},"crc32c":"${crc32c(pair.hidden).toString(16).padStart(8, '0')}"}`;
        this.fileBytes += pair.hidden.length;
      }
      const mismatched = pair.mismatched ? `,"mismatched_logps":[${pair.mismatched.map((list) => `[${logps(list)}]`).join(',')}]` : '';
      const line = Buffer.from(
        `{"id":${pair.id},"prompt":${pair.prompt},"chosen":${pair.chosen.length},"rejected":${pair.rejected.length},"chosen_logps":[${logps(pair.chosen)}],"rejected_logps":[${logps(pair.rejected)}]${mismatched}${hidden}}\n`,
      );
      writeWhole(this.table, line, this.tableBytes);
      this.tableBytes += line.length;
      this.done++;
      this.sinceSync += line.length + (pair.hidden?.length ?? 0);
      if (this.sinceSync > SYNC_EVERY) this.sync();
    } catch (cause) {
      throw writeFailure(path, cause);
    }
  }

  private sync(): void {
    if (this.sidecar !== undefined) fsyncSync(this.sidecar);
    fsyncSync(this.table);
    this.sinceSync = 0;
  }

  close(): void {
    this.sync();
    if (this.sidecar !== undefined) closeSync(this.sidecar);
    closeSync(this.table);
  }
}

export const bytesPerRow = (h: CacheHeader): number => h.width * (h.hidden_dtype === 'float16' ? 2 : 4);

function writeWhole(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}

function readLine(path: string, begin: number, end: number): string {
  const fd = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(end - begin);
    readSync(fd, buffer, 0, buffer.length, begin);
    return buffer.toString('utf8');
  } finally {
    closeSync(fd);
  }
}
