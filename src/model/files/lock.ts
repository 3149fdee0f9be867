import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

function alive(pid: number, started: string | undefined): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const now = startTime(pid);
  return started === undefined || now === undefined || now === started;
}

/**
 * Takes a folder for this process; a lock left by a dead process is taken over, and `note` says so.
 * @returns releases the lock.
 */
export function lockFolder(folder: string, note: (text: string) => void): () => void {
  const path = join(folder, '.edpo.lock');
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw writeFailure(folder, cause);
  }
  const mine = JSON.stringify({ pid: process.pid, started: startTime(process.pid) });
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, mine, { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw writeFailure(path, cause);
    }
    let owner: { pid?: number; started?: string } = {};
    try {
      owner = JSON.parse(readFileSync(path, 'utf8')) as typeof owner;
    } catch {
      // A lock cut short by a crash has no living owner.
    }
    if (owner.pid !== undefined && owner.pid !== process.pid && alive(owner.pid, owner.started)) {
      throw new EdpoError(`${folder} is in use by process ${owner.pid}`, {
        exitCode: 2, hint: `wait for it, or choose another --output_dir`,
      });
    }
    note(`took over ${path} from process ${owner.pid ?? '(unknown)'}, which is gone`);
    rmSync(path, { force: true });
  }
  throw new EdpoError(`${folder}: another process keeps taking the lock`, { exitCode: 2 });
}
