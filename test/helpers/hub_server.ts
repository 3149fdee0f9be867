import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';

const hash = (kind: 'sha1' | 'sha256', ...parts: Array<string | Buffer>): string => {
  const h = createHash(kind);
  for (const p of parts) h.update(p);
  return h.digest('hex');
};

/** What the server does with one request instead of answering rightly. */
export interface Fault {
  status?: number;
  headers?: Record<string, string>;
  body?: string;
  /** Bytes of the body that are sent before the connection is cut. */
  cutAfter?: number;
  /** Bytes of the body that are sent before nothing more comes. */
  stallAfter?: number;
  /** Ranges are not known: all of the file with 200. */
  noRanges?: boolean;
  /** Another body in place of the file's. */
  content?: Buffer;
}

export interface Seen {
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
  /** The name by which the server was called. */
  host: string;
}

interface RepoFiles {
  /** Branch or tag → commit. */
  revisions: Record<string, string>;
  files: Map<string, { content: Buffer; lfs: boolean; size?: number }>;
}

/** A hub of our own on 127.0.0.1: repository information, paged trees, files with ranges, large ones behind a redirect to another host name. */
export class HubServer {
  readonly seen: Seen[] = [];
  /** Asked for every request; what it returns replaces the answer. */
  fault: (request: Seen, nth: number) => Fault | undefined = () => undefined;
  private readonly repos = new Map<string, RepoFiles>();
  private readonly counts = new Map<string, number>();
  private constructor(private readonly server: Server) {}

  static async start(): Promise<HubServer> {
    const server = createServer((req, res) => hub.answer(req, res));
    const hub = new HubServer(server);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return hub;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
  forget(): void {
    this.seen.length = 0;
    this.counts.clear();
    this.fault = () => undefined;
  }

  /** Requests for the contents of files. */
  get downloads(): Seen[] {
    return this.seen.filter((s) => s.path.includes('/resolve/'));
  }

  /** @param kind `models` or `datasets`. Files of a folder, or by name. Large ones (*.safetensors, *.parquet, *.gz) are LFS files. */
  add(kind: 'models' | 'datasets', id: string, from: string | Record<string, string | Buffer>, revision = 'main'): string {
    const files: RepoFiles['files'] = new Map();
    const put = (path: string, content: string | Buffer): void => void files.set(path, { content: Buffer.from(content), lfs: /\.(safetensors|parquet|gz)$/.test(path) });
    if (typeof from === 'string') for (const p of readdirSync(from, { recursive: true }) as string[]) { if (statSync(join(from, p)).isFile()) put(p, readFileSync(join(from, p))); }
    else for (const [path, content] of Object.entries(from)) put(path, content);
    const commit = hash('sha1', kind, id, revision, ...[...files].flatMap(([p, f]) => [p, f.content]));
    this.repos.set(`${kind}/${id}@${commit}`, { revisions: {}, files });
    const names: RepoFiles = this.repos.get(`${kind}/${id}`) ?? { revisions: {}, files: new Map() };
    names.revisions[revision] = commit;
    this.repos.set(`${kind}/${id}`, names);
    return commit;
  }

  /** The tree lists a file with this size, whatever it is. */
  lie(kind: 'models' | 'datasets', id: string, commit: string, path: string, size: number): void {
    this.repos.get(`${kind}/${id}@${commit}`)!.files.get(path)!.size = size;
  }

  private answer(req: IncomingMessage, res: ServerResponse): void {
    const url = new URL(req.url!, this.url);
    const seen: Seen = { method: req.method!, path: decodeURIComponent(url.pathname), range: req.headers.range, authorization: req.headers.authorization, host: req.headers.host!.split(':')[0]! };
    this.seen.push(seen);
    const nth = this.counts.get(seen.path) ?? 0;
    this.counts.set(seen.path, nth + 1);
    const fault = this.fault(seen, nth);
    if (fault?.status) return void res.writeHead(fault.status, fault.headers).end(fault.body);
    if (fault?.body !== undefined) return void res.writeHead(200, { 'content-type': 'application/json' }).end(fault.body);

    const info = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(seen.path);
    const tree = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/tree\/([0-9a-f]{40})$/.exec(seen.path);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(seen.path);
    const cdn = /^\/cdn\/([0-9a-f]+)$/.exec(seen.path);
    const missing = (code: string): void => void res.writeHead(404, { 'x-error-code': code }).end();
    if (info) {
      const names = this.repos.get(`${info[1]}/${info[2]}`);
      if (!names) return void res.writeHead(seen.authorization ? 404 : 401, { 'x-error-code': 'RepoNotFound', 'x-error-message': 'Repository not found' }).end('{}');
      const sha = names.revisions[info[3]!] ?? Object.values(names.revisions).find((c) => c === info[3]);
      return sha ? json(res, { _id: '1', id: info[2], sha, private: false, gated: false, downloads: 0, likes: 0, lastModified: '2024-01-01T00:00:00Z' }) : missing('RevisionNotFound');
    }
    if (tree) {
      const repo = this.repos.get(`${tree[1]}/${tree[2]}@${tree[3]}`);
      if (!repo) return missing('RevisionNotFound');
      const entries = [...repo.files].map(([path, f]) => ({
        type: 'file', path, size: f.size ?? f.content.length, oid: hash('sha1', `blob ${f.content.length}\0`, f.content),
        ...(f.lfs ? { lfs: { oid: hash('sha256', f.content), size: f.size ?? f.content.length, pointerSize: 130 } } : {}),
      }));
      const from = Number(url.searchParams.get('from') ?? 0);
      const folders = from === 0 ? [...new Set([...repo.files.keys()].filter((p) => p.includes('/')).map((p) => p.split('/')[0]))].map((path) => ({ type: 'directory', path, size: 0, oid: '0'.repeat(40) })) : [];
      return json(res, [...folders, ...entries.slice(from, from + 5)], from + 5 < entries.length ? { link: `<${this.url}${url.pathname}?recursive=true&from=${from + 5}>; rel="next"` } : {});
    }
    if (file) {
      const entry = this.repos.get(`${file[1] ? 'datasets' : 'models'}/${file[2]}@${file[3]}`)?.files.get(file[4]!);
      if (!entry) return missing('EntryNotFound');
      // Large files lie on another host, which must not see the token.
      if (entry.lfs && !fault) return void res.writeHead(302, { location: `http://localhost:${this.port}/cdn/${hash('sha256', entry.content)}` }).end();
      return send(res, entry.content, seen.range, fault ?? {});
    }
    if (cdn) {
      const entry = [...this.repos.values()].flatMap((r) => [...r.files.values()]).find((f) => hash('sha256', f.content) === cdn[1]);
      return entry ? send(res, entry.content, seen.range, fault ?? {}) : missing('EntryNotFound');
    }
    missing('EntryNotFound');
  }
}

function json(res: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  res.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

function send(res: ServerResponse, whole: Buffer, range: string | undefined, fault: Fault): void {
  const content = fault.content ?? whole;
  const from = fault.noRanges ? undefined : /^bytes=(\d+)-$/.exec(range ?? '')?.[1];
  const start = from === undefined ? 0 : Number(from);
  if (start > 0 && start >= content.length) return void res.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
  const body = content.subarray(start);
  res.writeHead(from === undefined ? 200 : 206, { 'content-length': body.length, ...(from === undefined ? {} : { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }) });
  const part = fault.cutAfter ?? fault.stallAfter;
  if (part === undefined) return void res.end(body);
  res.write(body.subarray(0, part), () => { if (fault.cutAfter !== undefined) setTimeout(() => res.destroy(), 20); });
}

const bin = resolve('bin/edpo.js');

export interface Ran { code: number | null; signal: string | null; out: string; err: string }

/** Runs the real command without blocking this process (whose server must answer). `kill` ends it when it says so. */
export function edpoAsync(args: string[], env: Record<string, string>, kill?: (err: string) => boolean, cwd?: string): { done: Promise<Ran>; kill(): void } {
  const child = spawn(process.execPath, [bin, ...args], { env: { ...process.env, ...env }, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (d: Buffer) => (out += d.toString()));
  child.stderr.on('data', (d: Buffer) => {
    err += d.toString();
    if (kill?.(err)) child.kill('SIGKILL');
  });
  return { done: new Promise((done) => child.on('close', (code, signal) => done({ code, signal, out, err }))), kill: () => void child.kill('SIGKILL') };
}
