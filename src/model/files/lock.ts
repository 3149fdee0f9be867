import { existsSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { EdpoError } from '../../errors.js';
import { writeFailure } from './atomic.js';

/** When a process started, in clock ticks since boot (Linux): tells a process from a later one with its number. */
function startTime(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19];
  } catch {
    return undefined;
  }
}

interface Owner { pid?: number; started?: string; host?: string }

/** A lock's time is renewed this often, and on another machine a lock this old has no living owner: process numbers say nothing there. */
const [RENEWED_MS, DEAD_MS] = [5_000, 60_000];
/** Between the file and its contents a moment passes; an older one without contents was cut short by a crash. */
const BORN_MS = 2_000;

const age = (path: string): number => {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return Infinity;
  }
};

function alive({ pid, started, host }: Owner, path: string): boolean {
  if (host !== undefined && host !== hostname()) return age(path) < DEAD_MS;
  if (pid === undefined) return age(path) < BORN_MS;
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const now = startTime(pid);
  return started === undefined || now === undefined || now === started;
}

/** Keeps a lock young until it is released. */
function renew(path: string): () => void {
  const timer = setInterval(() => {
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // Gone with its folder: nothing is left to keep.
    }
  }, RENEWED_MS).unref();
  return () => {
    clearInterval(timer);
    rmSync(path, { force: true });
  };
}

/** A folder is another process's: one may wait. */
export class InUse extends EdpoError {}

/**
 * Takes a folder for this process; a lock left by a dead process is taken over, and `note` says so.
 * @param name of the lock's file
 * @returns releases the lock.
 * @throws InUse
 */
export function lockFolder(folder: string, note: (text: string) => void, name = '.edpo.lock'): () => void {
  const path = join(folder, name);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw writeFailure(folder, cause);
  }
  const mine = JSON.stringify({ pid: process.pid, started: startTime(process.pid), host: hostname() });
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, mine, { flag: 'wx' });
      return renew(path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw writeFailure(path, cause);
    }
    let owner: Owner = {};
    try {
      owner = JSON.parse(readFileSync(path, 'utf8')) as Owner;
    } catch {
      // Released just now, or cut short by a crash.
      if (!existsSync(path)) continue;
    }
    const who = owner.pid === undefined ? '(unknown)' : `${owner.pid}${owner.host !== undefined && owner.host !== hostname() ? ` on ${owner.host}` : ''}`;
    if (alive(owner, path)) throw new InUse(`${folder} is in use by process ${who}`, { exitCode: 2, hint: `wait for it, or choose another --output_dir` });
    note(`took over ${path} from process ${who}, which is gone`);
    rmSync(path, { force: true });
  }
  throw new InUse(`${folder}: another process keeps taking the lock`, { exitCode: 2 });
}

const LOCK_MS = 500;

/**
 * As `lockFolder`, but waits for another process to release the folder.
 * @param o.waiting called once, before the first wait
 * @param o.stop asked while waiting; true gives up
 * @returns undefined where `stop` ended it
 */
export async function waitForFolder(folder: string, note: (text: string) => void, o: { waiting: () => void; stop?: () => boolean; name?: string }): Promise<(() => void) | undefined> {
  for (let waited = false; !o.stop?.(); waited = true) {
    try {
      return lockFolder(folder, note, o.name);
    } catch (cause) {
      if (!(cause instanceof InUse)) throw cause;
      if (!waited) o.waiting();
      await new Promise((done) => setTimeout(done, LOCK_MS));
    }
  }
  return undefined;
}
