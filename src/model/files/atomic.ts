import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EdpoError } from '../../errors.js';

/** Flushes a file or a folder's entries to the disk. */
export function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Turns a full disk, a file-size limit and their like into a sentence that says what was kept. */
export function writeFailure(path: string, cause: unknown): Error {
  // Only what the system refused is about the disk.
  if (!(cause instanceof Error) || !('syscall' in cause)) return cause as Error;
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const why: Record<string, string> = {
    ENOSPC: 'the disk is full', EDQUOT: 'the disk quota is used up', EFBIG: 'the file-size limit (ulimit -f) is reached',
    EACCES: 'no permission', EROFS: 'the file system is read-only', ENOTDIR: 'a part of the path is a file',
  };
  return new EdpoError(`cannot write ${path}: ${why[code] ?? String(cause)}; what was complete before stays as it was`, {
    hint: 'make room (or choose another --output_dir) and run the same command with --resume',
    cause,
  });
}

/** Writes a small file under a temporary name and renames it, so that it is whole or absent. */
export function writeAtomic(path: string, data: string | Uint8Array): void {
  const partial = `${path}.partial-${process.pid}`;
  try {
    writeFileSync(partial, data, { flush: true });
    renameSync(partial, path);
    syncPath(dirname(path));
  } catch (cause) {
    // Where the write could not begin there is nothing to remove, and trying may fail as well.
    try {
      rmSync(partial, { force: true });
    } catch {}
    throw writeFailure(path, cause);
  }
}

/** Fills a folder under a temporary name, fsyncs and renames it over `path`. */
export async function writeFolderAtomic(path: string, fill: (partial: string) => Promise<void>): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    await fill(partial);
    syncPath(partial);
    await rm(path, { recursive: true, force: true });
    await rename(partial, path);
    syncPath(dirname(path));
  } catch (cause) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    throw writeFailure(path, cause);
  }
}
