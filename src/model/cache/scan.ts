import { closeSync, openSync, readSync } from 'node:fs';
import type { CacheHeader } from './header.js';

/** What stands in a cache table: its header, where each whole line begins, and where the last one ends. */
export interface TableScan {
  header: CacheHeader | undefined;
  /** Byte where pair i's line begins, for i < count, and `end` behind the last. */
  offsets: number[];
  count: number;
  end: number;
  /** Bytes past the last newline: a line cut short. */
  torn: number;
}

/** One streaming pass for newlines; only offsets are kept. */
export function scanTable(path: string): TableScan {
  const fd = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(1 << 20);
    const starts: number[] = [0];
    let position = 0;
    for (;;) {
      const n = readSync(fd, chunk, 0, chunk.length, position);
      if (n === 0) break;
      const part = chunk.subarray(0, n);
      for (let at = part.indexOf(10); at >= 0; at = part.indexOf(10, at + 1)) starts.push(position + at + 1);
      position += n;
    }
    const lines = starts.length - 1;
    const end = starts[lines]!;
    if (lines === 0) return { header: undefined, offsets: [], count: 0, end: 0, torn: position };
    const first = Buffer.alloc(starts[1]!);
    readSync(fd, first, 0, first.length, 0);
    let header: CacheHeader | undefined;
    try {
      header = JSON.parse(first.toString('utf8')) as CacheHeader;
    } catch {
      header = undefined;
    }
    return { header: header?.format === 'edpo-ref-cache' ? header : undefined, offsets: starts.slice(1, lines), count: lines - 1, end, torn: position - end };
  } finally {
    closeSync(fd);
  }
}
