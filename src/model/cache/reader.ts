import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { EdpoError } from '../../errors.js';
import { crc32c } from '../files/crc32c.js';
import { decode } from '../files/float_formats.js';
import { sidecarPath, tablePath, type CacheLine, type Shard } from './files.js';
import type { CacheHeader } from './header.js';
import { scanTable, type TableScan } from './scan.js';
import { bytesPerRow } from './writer.js';

/** A cache opened for reading: an index of line offsets in memory, everything else read when asked for. */
export class CacheReader {
  private readonly table: number;
  private readonly sidecars = new Map<number, number>();

  private constructor(
    private readonly dir: string,
    readonly header: CacheHeader,
    private readonly scan: TableScan,
    private readonly shard: Shard | undefined,
  ) {
    this.table = openSync(tablePath(dir, header.split, shard), 'r');
  }

  /** @returns undefined where there is no cache, not even a header. */
  static open(dir: string, split: string, shard?: Shard): CacheReader | undefined {
    const path = tablePath(dir, split, shard);
    if (!existsSync(path)) return undefined;
    const scan = scanTable(path);
    return scan.header ? new CacheReader(dir, scan.header, scan, shard) : undefined;
  }

  /** Whole pairs there are; fewer than `header.pairs` in a partial cache. */
  get count(): number {
    return this.scan.count;
  }

  /** Pair at position i of the split. Throws EdpoError for a line that does not parse. */
  line(i: number): CacheLine {
    const begin = this.scan.offsets[i]!;
    const end = this.scan.offsets[i + 1] ?? this.scan.end;
    const buffer = Buffer.alloc(end - begin);
    readSync(this.table, buffer, 0, buffer.length, begin);
    try {
      return JSON.parse(buffer.toString('utf8')) as CacheLine;
    } catch (cause) {
      throw this.broken(`pair ${i}: its line at byte ${begin} is no JSON`, cause);
    }
  }

  /** Hidden states of a pair, [rows, D] bytes in the header's format; the checksum is verified. */
  hiddenBytes(line: CacheLine): Uint8Array {
    const { file, offset, rows, crc32c: want } = line.hidden!;
    const bytes = new Uint8Array(rows * bytesPerRow(this.header));
    const path = sidecarPath(this.dir, this.header.split, file, this.shard);
    let fd = this.sidecars.get(file);
    try {
      if (fd === undefined) this.sidecars.set(file, (fd = openSync(path, 'r')));
      const got = readSync(fd, bytes, 0, bytes.length, offset);
      if (got < bytes.length) throw new Error(`the file ends ${bytes.length - got} bytes early`);
    } catch (cause) {
      throw this.broken(`pair ${line.id}: hidden states in ${path} at byte ${offset}: ${(cause as Error).message}`, cause);
    }
    const sum = crc32c(bytes).toString(16).padStart(8, '0');
    if (sum !== want) throw this.broken(`pair ${line.id}: hidden states in ${path} at byte ${offset} have checksum ${sum}, expected ${want}`);
    return bytes;
  }

  /** The same as f32 values. */
  hidden(line: CacheLine): Float32Array {
    return decode(this.hiddenBytes(line), this.header.hidden_dtype === 'float16' ? 'F16' : 'F32');
  }

  private broken(what: string, cause?: unknown): EdpoError {
    return new EdpoError(`the reference cache ${this.dir} is damaged: ${what}`, {
      exitCode: 2, cause, hint: `delete ${tablePath(this.dir, this.header.split, this.shard)} and run edpo precompute-ref again`,
    });
  }

  close(): void {
    closeSync(this.table);
    for (const fd of this.sidecars.values()) closeSync(fd);
  }
}
