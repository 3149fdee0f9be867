import { closeSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { writeFailure } from '../files/atomic.js';

/** A file that lines are appended to, whose length a checkpoint remembers and a resume cuts back to. */
export class AppendLog {
  private readonly fd: number;
  bytes: number;
  /** @param keep bytes that stay of what is there. */
  constructor(readonly path: string, keep: number) {
    try {
      this.fd = openSync(path, keep > 0 ? 'r+' : 'w');
      ftruncateSync(this.fd, keep);
    } catch (cause) {
      throw writeFailure(path, cause);
    }
    this.bytes = keep;
  }

  append(text: string | Buffer): void {
    const data = typeof text === 'string' ? Buffer.from(text) : text;
    try {
      for (let at = 0; at < data.length; ) at += writeSync(this.fd, data, at, data.length - at, this.bytes + at);
    } catch (cause) {
      throw writeFailure(this.path, cause);
    }
    this.bytes += data.length;
  }

  sync(): void {
    fsyncSync(this.fd);
  }
  close(): void {
    this.sync();
    closeSync(this.fd);
  }
}
