import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeFailure } from '../../files/atomic.js';
import { AppendLog } from '../../train/append_log.js';
import type { Reply } from './reply.js';

/** SHA-256 of address and body as sent (keys of objects in order of their names): two requests share a reply only where both are equal. */
export function requestKey(url: string, body: unknown): string {
  const sorted = (v: unknown): unknown => (Array.isArray(v) ? v.map(sorted) : typeof v === 'object' && v !== null ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, w]) => [k, sorted(w)])) : v);
  return createHash('sha256').update(JSON.stringify([url, sorted(body)])).digest('hex');
}

function readLines(path: string): { replies: Map<string, Reply>; bytes: number; torn: boolean; unread: number } {
  const file = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  const bytes = file.lastIndexOf(10) + 1;
  const replies = new Map<string, Reply>();
  let unread = 0;
  for (const line of file.toString('utf8', 0, bytes).split('\n')) {
    if (line === '') continue;
    try {
      const { key, reply } = JSON.parse(line) as { key?: unknown; reply?: Partial<Reply> };
      if (typeof key !== 'string' || typeof reply?.content !== 'string') throw new Error('another form');
      replies.set(key, reply as Reply);
    } catch {
      unread++;
    }
  }
  return { replies, bytes, torn: bytes < file.length, unread };
}

/** Replies on disk, one line {key, reply} each, appended before anybody uses them: what was paid for is not paid for again after a kill. */
export class ReplyCache {
  private constructor(private readonly replies: Map<string, Reply>, private readonly log: AppendLog | undefined) {}

  /** Opens for writing. Half a last line (a kill) is dropped; a broken line within is passed over; `note` is told of both. */
  static open(path: string | undefined, note: (text: string) => void): ReplyCache {
    if (path === undefined) return new ReplyCache(new Map(), undefined);
    try {
      mkdirSync(dirname(path), { recursive: true });
    } catch (cause) {
      throw writeFailure(path, cause);
    }
    const { replies, bytes, torn, unread } = readLines(path);
    if (torn) note(`${path}: half a last line is dropped`);
    if (unread > 0) note(`${path}: ${unread} lines cannot be read; what they held is asked again`);
    if (replies.size > 0) note(`${path}: ${replies.size} replies are there already`);
    return new ReplyCache(replies, new AppendLog(path, bytes));
  }

  /** Only looks. */
  static peek(path: string | undefined): ReplyCache {
    return new ReplyCache(path === undefined ? new Map() : readLines(path).replies, undefined);
  }

  get(key: string): Reply | undefined {
    return this.replies.get(key);
  }

  set(key: string, reply: Reply): void {
    this.log?.append(`${JSON.stringify({ key, reply })}\n`);
    this.replies.set(key, reply);
  }

  close(): void {
    this.log?.close();
  }
}
