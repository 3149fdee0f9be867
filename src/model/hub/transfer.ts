import { createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { EdpoError } from '../../errors.js';
import { writeFailure } from '../files/atomic.js';
import { isPassing, reason, sleep, WAITS, waitOf, type HubClient, type RemoteFile } from './client.js';
import type { Repo } from './names.js';

export interface Transfer {
  client: HubClient;
  repo: Repo;
  commit: string;
  file: RemoteFile;
  /** Where the whole file is to stand; `<blob>.incomplete` beside it holds what has arrived (as Hugging Face's tools have it). */
  blob: string;
  /** Bytes that have arrived since the last call; negative where some are thrown away. */
  arrived: (bytes: number) => void;
}

const hasher = ({ digest, size }: RemoteFile): Hash => (digest.kind === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`));

/** Bytes of a file that an earlier run left. */
export function bytesThere(blob: string, size: number): number {
  if (existsSync(blob)) return size;
  const partial = `${blob}.incomplete`;
  const have = existsSync(partial) ? statSync(partial).size : 0;
  return have > size ? 0 : have;
}

/**
 * Brings one file into the cache: goes on where an earlier try or run stopped (Range), tries again while pieces arrive,
 * checks size and digest, and only then gives the file its name.
 */
export async function transfer(t: Transfer): Promise<void> {
  if (existsSync(t.blob)) return;
  const partial = `${t.blob}.incomplete`;
  let handle: FileHandle;
  try {
    handle = await open(partial, existsSync(partial) ? 'r+' : 'w+');
  } catch (cause) {
    throw writeFailure(partial, cause);
  }
  try {
    const sink = new Sink(handle, t);
    await sink.adopt(partial);
    const adopted = sink.have;
    await pull(t, sink);
    if (!sink.isRight()) {
      // What an earlier run left may be at fault; what arrived whole just now is not mended by another try.
      if (adopted > 0) {
        await sink.restart();
        await pull(t, sink);
      }
      if (!sink.isRight()) {
        await rm(partial, { force: true });
        throw new EdpoError(`${t.repo.id}: ${t.file.path} arrived with other content than the hub lists (${t.file.digest.kind === 'sha256' ? 'SHA-256' : 'git SHA-1'} differs)`, { hint: 'run the same command again; a proxy that changes files would do this, too' });
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(partial, t.blob);
}

/** The partial file with the digest of what it holds. */
class Sink {
  have = 0;
  private hash: Hash;
  constructor(private readonly handle: FileHandle, private readonly t: Transfer) {
    this.hash = hasher(t.file);
  }

  /** Takes up what an earlier run left; more than the file's size is none of it. Those bytes are not counted as arriving. */
  async adopt(partial: string): Promise<void> {
    if (statSync(partial).size > this.t.file.size) await this.handle.truncate(0);
    for await (const chunk of createReadStream(partial)) {
      this.hash.update(chunk as Buffer);
      this.have += (chunk as Buffer).length;
    }
  }

  async add(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; ) at += (await this.handle.write(bytes, at, bytes.length - at, this.have + at)).bytesWritten;
    } catch (cause) {
      throw writeFailure(`${this.t.blob}.incomplete`, cause);
    }
    this.hash.update(bytes);
    this.have += bytes.length;
    this.t.arrived(bytes.length);
  }

  async restart(): Promise<void> {
    this.t.arrived(-this.have);
    await this.handle.truncate(0);
    this.have = 0;
    this.hash = hasher(this.t.file);
  }

  isRight(): boolean {
    return this.have === this.t.file.size && this.hash.copy().digest('hex') === this.t.file.digest.hex;
  }
}

/** Requests until the file is whole. */
async function pull(t: Transfer, sink: Sink): Promise<void> {
  const { client, repo, file } = t;
  const path = file.path.split('/').map(encodeURIComponent).join('/');
  const url = `${client.settings.endpoint}/${repo.kind === 'dataset' ? 'datasets/' : ''}${repo.id}/resolve/${t.commit}/${path}`;
  let fruitless = 0;
  while (sink.have < file.size) {
    const before = sink.have;
    let wait: number | undefined = WAITS[fruitless];
    let trouble: string;
    try {
      const end = await piece(t, sink, url);
      if (end === 'whole') return;
      trouble = end.trouble;
      wait = end.response ? waitOf(end.response, wait) : wait;
    } catch (cause) {
      if (cause instanceof EdpoError) throw cause;
      trouble = reason(cause);
    }
    if (sink.have > before) {
      fruitless = 0;
      wait = WAITS[0];
    } else fruitless++;
    if (wait === undefined) {
      throw new EdpoError(`${repo.id}: ${file.path} stopped at ${sink.have} of ${file.size} bytes: ${trouble}`, { hint: 'what has arrived is kept: the same command goes on from there' });
    }
    client.io.log.info({ file: file.path, have: sink.have, trouble }, 'hub: once more');
    await sleep(wait);
  }
}

/** One request and its body, from where the partial file ends. Throws what fetch throws where the connection breaks. */
async function piece(t: Transfer, sink: Sink, url: string): Promise<'whole' | { trouble: string; response?: Response }> {
  const { client, repo, file } = t;
  const silence = new AbortController();
  const late = (): void => silence.abort(new DOMException('no bytes in time', 'TimeoutError'));
  let timer = setTimeout(late, client.settings.pieceMs);
  try {
    // Compressed bodies would have other sizes than the hub lists.
    const headers: Record<string, string> = { 'accept-encoding': 'identity', ...(sink.have > 0 ? { range: `bytes=${sink.have}-` } : {}) };
    const response = await client.request(url, headers, silence.signal);
    if (response.status === 416) {
      await response.body?.cancel();
      await sink.restart();
      return { trouble: 'the server refuses the rest of the file (416)', response };
    }
    if (!response.ok) {
      if (!isPassing(response.status)) throw await client.refusal(repo, response, file.path);
      await response.body?.cancel();
      return { trouble: `the hub answers ${response.status}`, response };
    }
    const range = /^bytes (\d+)-\d*\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
    const resumed = response.status === 206 && Number(range?.[1]) === sink.have;
    // A server without ranges sends all of it again.
    if (!resumed && sink.have > 0) await sink.restart();
    if (response.status === 206 && !resumed) {
      await response.body?.cancel();
      return { trouble: 'the server sends another part than was asked for', response };
    }
    const length = response.headers.get('content-length');
    const total = resumed && range![2] !== '*' ? Number(range![2]) : length !== null ? sink.have + Number(length) : file.size;
    if (total !== file.size) {
      await response.body?.cancel();
      throw sizeError(t, total);
    }
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      if (sink.have + chunk.length > file.size) throw sizeError(t, sink.have + chunk.length);
      await sink.add(chunk as Uint8Array);
      timer = setTimeout(late, client.settings.pieceMs);
    }
    return sink.have === file.size ? 'whole' : { trouble: 'the connection ended early', response };
  } finally {
    clearTimeout(timer);
  }
}

const sizeError = ({ repo, file }: Transfer, got: number): EdpoError =>
  new EdpoError(`${repo.id}: ${file.path} should have ${file.size} bytes as the hub lists it, the server sends ${got}`, { hint: 'run the same command again; if it stays, the file is broken on the hub or changed on the way' });
