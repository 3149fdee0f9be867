import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { CliIo } from '../../cli/io.js';
import { Progress } from '../../cli/progress.js';
import { EdpoError, InputError } from '../../errors.js';
import { writeAtomic, writeFailure } from '../files/atomic.js';
import { waitForFolder } from '../files/lock.js';
import { bytesText } from '../reference.js';
import { HubClient, Unreachable, type RemoteFile } from './client.js';
import { isCommit, type Repo } from './names.js';
import { hubCache } from './settings.js';
import { bytesThere, transfer } from './transfer.js';

/** Files that arrive at the same time. */
const AT_ONCE = 4;

/** A repository's folder in Hugging Face's cache: `models--org--name` with blobs, refs and snapshots. */
export class RepoCache {
  readonly root = hubCache();
  readonly name: string;
  constructor({ kind, id }: Repo) {
    this.name = `${kind}s--${id.replace('/', '--')}`;
  }

  get path(): string {
    return join(this.root, this.name);
  }
  snapshot(commit: string): string {
    return join(this.path, 'snapshots', commit);
  }
  blob(file: RemoteFile): string {
    return join(this.path, 'blobs', file.digest.hex);
  }

  /** The commit that a revision stood for when it was last fetched, if its snapshot is here. */
  cached(revision: string): string | undefined {
    let commit = revision;
    if (!isCommit(revision)) {
      try {
        commit = readFileSync(join(this.path, 'refs', revision), 'utf8').trim();
      } catch {
        return undefined;
      }
    }
    return isCommit(commit) && existsSync(this.snapshot(commit)) ? commit : undefined;
  }

  /** Is a file of a snapshot there whole (also as another tool put it)? */
  has(commit: string, file: RemoteFile): boolean {
    const path = join(this.snapshot(commit), file.path);
    return existsSync(path) && statSync(path).size === file.size;
  }

  remember(revision: string, commit: string): void {
    if (isCommit(revision) || this.cached(revision) === commit) return;
    const path = join(this.path, 'refs', revision);
    mkdirSync(dirname(path), { recursive: true });
    writeAtomic(path, commit);
  }

  /** Names a blob in a snapshot: a relative link, or a copy where the file system has none. */
  link(commit: string, file: RemoteFile): void {
    const path = join(this.snapshot(commit), file.path);
    if (this.has(commit, file)) return;
    mkdirSync(dirname(path), { recursive: true });
    try {
      symlinkSync(relative(dirname(path), this.blob(file)), path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST') throw new EdpoError(`${path} is there with another size than the hub lists`, { exitCode: 2, hint: `remove it and run the same command again` });
      copyFileSync(this.blob(file), path);
    }
  }

  /** Paths of all files of a snapshot, parts joined by "/". */
  files(commit: string): string[] {
    return readdirSync(this.snapshot(commit), { recursive: true }).map((p) => String(p).replaceAll('\\', '/')).filter((p) => statSync(join(this.snapshot(commit), p), { throwIfNoEntry: false })?.isFile());
  }
}

/** A revision made fast: its commit, the files it has, and how to bring some of them here. */
export interface Snapshot {
  repo: Repo;
  cache: RepoCache;
  commit: string;
  /** Paths in the repository; without the hub those in the cache. */
  paths: string[];
  cachedOnly: boolean;
  /** Brings files into the cache (those already there cost no request); without the hub they must be there. */
  bring(paths: string[], io: CliIo): Promise<void>;
  /** Where a file stands, or the folder of all. */
  local(path?: string): string;
}

/**
 * Looks a revision up, on the hub or (offline, or where the hub cannot be reached) in the cache.
 * @throws InputError: not in the cache, no such repository or revision, gated
 */
export async function openSnapshot(repo: Repo, client: HubClient): Promise<Snapshot> {
  const cache = new RepoCache(repo);
  const { settings, io } = client;
  const known = cache.cached(repo.revision);
  if (settings.offline) {
    if (known === undefined) {
      throw new InputError(`${repo.id} is no folder or file here, and its revision ${repo.revision} is not in the cache ${cache.root}; offline is set`, 'run once without --offline (HF_HUB_OFFLINE), or name a folder');
    }
    return cachedSnapshot(repo, cache, known);
  }
  try {
    const commit = isCommit(repo.revision) ? repo.revision : await client.commit(repo);
    const files = new Map((await client.files(repo, commit)).map((f) => [f.path, f]));
    return {
      repo, cache, commit, paths: [...files.keys()], cachedOnly: false,
      bring: (paths, said) => bring({ repo, cache, commit, client, files: paths.map((p) => files.get(p)!) }, said),
      local: (path = '') => join(cache.snapshot(commit), path),
    };
  } catch (cause) {
    if (!(cause instanceof Unreachable) || known === undefined) throw cause;
    io.warn(`the hub ${settings.endpoint} cannot be reached; ${repo.id} is taken from the cache as it was last fetched (${known.slice(0, 7)})`);
    return cachedSnapshot(repo, cache, known);
  }
}

function cachedSnapshot(repo: Repo, cache: RepoCache, commit: string): Snapshot {
  const paths = cache.files(commit);
  return {
    repo, cache, commit, paths, cachedOnly: true, local: (path = '') => join(cache.snapshot(commit), path),
    bring: async (wanted) => {
      const missing = [...wanted.filter((p) => !paths.includes(p)), ...missingParts(wanted)];
      if (missing.length > 0) throw new InputError(`${repo.id}: ${missing.join(', ')} is not in the cache ${cache.snapshot(commit)}, which was filled in part`, 'run once without --offline (HF_HUB_OFFLINE)');
    },
  };
}

/** Parts of `…-00001-of-00003.…` that a list lacks. */
export function missingParts(paths: string[]): string[] {
  const missing = new Set<string>();
  for (const path of paths) {
    const [, before, number, count, after] = /^(.*-)(\d{5})-of-(\d{5})(\.[^/]*)$/.exec(path) ?? [];
    if (number === undefined) continue;
    // Data sets count from 0, weights from 1.
    const first = paths.includes(`${before}00000-of-${count}${after}`) || after!.startsWith('.parquet') || after!.startsWith('.json') ? 0 : 1;
    for (let i = first; i < first + Number(count); i++) {
      const part = `${before}${String(i).padStart(5, '0')}-of-${count}${after}`;
      if (!paths.includes(part)) missing.add(part);
    }
  }
  return [...missing];
}

/** Says the size, checks the room, then transfers what is missing, a few files at a time. */
async function bring(o: { repo: Repo; cache: RepoCache; commit: string; client: HubClient; files: RemoteFile[] }, io: CliIo): Promise<void> {
  const { repo, cache, commit, client, files } = o;
  const missing = files.filter((f) => !cache.has(commit, f));
  if (missing.length > 0) {
    const unlock = await lock(cache, io);
    try {
      await download({ repo, cache, commit, client, missing }, io);
    } finally {
      unlock();
    }
  }
  cache.remember(repo.revision, commit);
}

async function download({ repo, cache, commit, client, missing }: { repo: Repo; cache: RepoCache; commit: string; client: HubClient; missing: RemoteFile[] }, io: CliIo): Promise<void> {
  try {
    mkdirSync(join(cache.path, 'blobs'), { recursive: true });
  } catch (cause) {
    throw writeFailure(cache.path, cause);
  }
  const blobs = [...new Map(missing.map((f) => [f.digest.hex, f])).values()];
  const total = blobs.reduce((n, f) => n + f.size, 0);
  let done = blobs.reduce((n, f) => n + bytesThere(cache.blob(f), f.size), 0);
  const { bavail, bsize } = statfsSync(cache.path);
  const free = bavail * bsize;
  const rest = total - done;
  const kept = done > 0 ? `, ${bytesText(done)} of them already here` : '';
  io.say(`${repo.id}@${repo.revision} (${commit.slice(0, 7)}): ${blobs.length} file${blobs.length > 1 ? 's' : ''}, ${bytesText(total)}${kept}; into ${cache.path}, ${bytesText(free)} free`);
  if (rest > free) throw new InputError(`${repo.id} needs ${bytesText(rest)} more and ${cache.root} has ${bytesText(free)} free`, 'export HF_HUB_CACHE=DIR   on a disk with room');
  const progress = new Progress(io, 'download', total, done, bytesText);
  const queue = [...blobs].sort((a, b) => b.size - a.size);
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    for (let file = queue.shift(); file && failures.length === 0; file = queue.shift()) {
      try {
        const { path } = file;
        await transfer({ client, repo, commit, file, blob: cache.blob(file), arrived: (n) => progress.update((done += n), path) });
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (failures.length > 0) {
    progress.clear();
    throw failures[0];
  }
  // A snapshot shows a file only when all that were asked for are here: half a data set must not look whole.
  for (const file of missing) cache.link(commit, file);
}

/** One process at a time fills a repository's folder; another waits. */
async function lock(cache: RepoCache, io: CliIo): Promise<() => void> {
  return (await waitForFolder(join(cache.root, '.locks', cache.name), (text) => io.log.info(text), { waiting: () => io.say(`another process fills ${cache.path}; waiting for it`) }))!;
}
