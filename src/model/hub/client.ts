import { EdpoError, InputError } from '../../errors.js';
import type { CliIo } from '../../cli/io.js';
import type { Repo } from './names.js';
import type { HubSettings } from './settings.js';

/** One file of a repository at a commit. */
export interface RemoteFile {
  /** Within the repository, parts joined by "/". */
  path: string;
  /** Bytes. */
  size: number;
  /** SHA-256 of the content (large files), or git's SHA-1 of it as a blob. Names the file in the cache, too. */
  digest: { kind: 'sha256' | 'git'; hex: string };
}

/** Waits between tries, ms; a piece of a file that arrives begins them anew. */
export const WAITS = [300, 1000, 3000, 8000];
export const sleep = (ms: number): Promise<void> => new Promise((done) => void setTimeout(done, ms));

/** The hub could not be reached at all: what is cached may do. */
export class Unreachable extends EdpoError {}

/** Asks the hub: every request with its token (to the hub alone), its time limit, its tries, and errors in our words. */
export class HubClient {
  constructor(readonly settings: HubSettings, readonly io: CliIo) {}

  /** Never lets the token into a text. */
  private clean(text: string): string {
    const { token } = this.settings;
    return (token ? text.replaceAll(token, '***') : text).replace(/\s+/g, ' ').slice(0, 200);
  }

  /** One request, no tries; the signal of `limit` may end the body, too. Throws what fetch throws. */
  async request(url: string, headers: Record<string, string>, signal: AbortSignal, init: RequestInit = {}): Promise<Response> {
    const { endpoint, token } = this.settings;
    const mine = new URL(url).origin === new URL(endpoint).origin;
    this.io.log.info({ url: url.split('?')[0], range: headers['range'] }, 'hub request');
    // fetch drops the Authorization header where a redirect leaves the hub (signed addresses of large files).
    return fetch(url, { ...init, headers: { ...(init.headers as Record<string, string>), ...headers, ...(token && mine ? { authorization: `Bearer ${token}` } : {}) }, signal });
  }

  /** For the library: metadata with tries. Answers that are errors are thrown in our words about `repo`. */
  readonly fetchFor = (repo: Repo): typeof fetch => async (input, init) => {
    const url = String(input instanceof Request ? input.url : input);
    for (let attempt = 0; ; attempt++) {
      let trouble: string;
      let wait: number | undefined = WAITS[attempt];
      try {
        const response = await this.request(url, {}, AbortSignal.timeout(this.settings.answerMs), init);
        if (response.ok) return response;
        if (!isPassing(response.status)) throw await this.refusal(repo, response);
        trouble = `answers ${response.status}`;
        wait = waitOf(response, wait);
        await response.body?.cancel();
      } catch (cause) {
        if (cause instanceof EdpoError) throw cause;
        trouble = this.clean(reason(cause));
      }
      if (wait === undefined) throw this.unreachable(repo, trouble);
      this.io.log.info({ trouble, wait }, 'hub: once more');
      await sleep(wait);
    }
  };

  unreachable({ id }: Repo, trouble: string): Unreachable {
    return new Unreachable(`${id} is no folder or file here, and the hub ${this.settings.endpoint} cannot be reached: ${trouble}`, {
      exitCode: 2, hint: 'check the path and the connection (HF_ENDPOINT names another hub); the same command goes on where a download stopped',
    });
  }

  /** An answer that trying again does not mend, as what to do about it. */
  async refusal({ kind, id, revision }: Repo, response: Response, path?: string): Promise<EdpoError> {
    const { endpoint, token } = this.settings;
    const code = response.headers.get('x-error-code') ?? '';
    const said = this.clean(response.headers.get('x-error-message') ?? '');
    await response.body?.cancel().catch(() => undefined);
    const { status } = response;
    const page = `${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${id}`;
    const noun = kind === 'dataset' ? 'data set' : 'model';
    if (code === 'GatedRepo' || (status === 403 && code === '')) {
      return new InputError(
        `the ${noun} ${id} is gated: its owner gives access by name${token ? ', and the token in use has none' : ', and no token is set'}`,
        `ask for access on ${page}, then: export HF_TOKEN=hf_…   (a token of ${endpoint}/settings/tokens${token ? ' of the account that has access' : ''})`,
      );
    }
    if (code === 'RevisionNotFound') return new InputError(`the ${noun} ${id} has no revision ${revision}`, `${page}/refs lists them; main is the usual one`);
    if (code === 'EntryNotFound' && path !== undefined) return new InputError(`the ${noun} ${id} has no file ${path} at ${revision}`, page);
    if (status === 401 && token && /invalid|credential|expired/i.test(said)) return new InputError(`the hub refuses the token (401${said ? `: ${said}` : ''})`, `export HF_TOKEN=hf_…   with a valid one of ${endpoint}/settings/tokens, or unset HF_TOKEN`);
    // The hub answers 401 for what does not exist, to whom has no token: it does not tell private from absent.
    if (status === 404 || status === 401) {
      const flag = kind === 'dataset' ? '--dataset_name' : '--model_name_or_path';
      return new InputError(`${id} is no folder or file here, and the hub ${endpoint} has no ${noun} of that name${token ? ' that this token may see' : ' (or it is private)'}`, `check the name (${flag} ORG/NAME or a path)${token ? '' : '; for a private one: export HF_TOKEN=hf_…'}`);
    }
    return new EdpoError(`the hub answers ${status} for ${id}${path ? `, ${path}` : ''}${said ? `: ${said}` : ''}`, { hint: `open ${page} in a browser` });
  }

  /** The commit a revision stands for. */
  async commit(repo: Repo): Promise<string> {
    const { modelInfo, datasetInfo } = await import('@huggingface/hub');
    const about = { name: repo.id, revision: repo.revision, hubUrl: this.settings.endpoint, fetch: this.fetchFor(repo), additionalFields: ['sha' as const] };
    const { sha } = await this.parsed(repo, repo.kind === 'model' ? modelInfo({ ...about }) : datasetInfo({ ...about }));
    if (!/^[0-9a-f]{40}$/.test(String(sha))) throw this.nonsense(repo, `no commit of ${repo.revision}`);
    return sha;
  }

  /** All files at a commit. */
  async files(repo: Repo, commit: string): Promise<RemoteFile[]> {
    const { listFiles } = await import('@huggingface/hub');
    const found: RemoteFile[] = [];
    const entries = listFiles({ repo: { type: repo.kind, name: repo.id }, recursive: true, revision: commit, hubUrl: this.settings.endpoint, fetch: this.fetchFor(repo) });
    for (;;) {
      const next = await this.parsed(repo, entries.next());
      if (next.done) return found;
      const { type, path, size, lfs, oid } = next.value;
      if (type !== 'file') continue;
      const digest = lfs ? { kind: 'sha256' as const, hex: lfs.oid } : { kind: 'git' as const, hex: oid ?? '' };
      const right = (digest.kind === 'sha256' ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(digest.hex) && Number.isSafeInteger(lfs?.size ?? size);
      // A name from outside must stay inside the cache's folder.
      if (!right || path.split(/[/\\]/).some((part) => part === '' || part === '..' || part === '.') || /^[A-Za-z]:/.test(path)) throw this.nonsense(repo, `the file ${JSON.stringify(path)}`);
      found.push({ path, size: lfs?.size ?? size, digest });
    }
  }

  /** What the library throws over an answer that is no JSON of the expected form. */
  private async parsed<T>(repo: Repo, answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (cause) {
      throw cause instanceof EdpoError ? cause : this.nonsense(repo, this.clean(reason(cause)));
    }
  }

  private nonsense(repo: Repo, what: string): EdpoError {
    return new EdpoError(`${this.settings.endpoint} answers about ${repo.id} as no hub does: ${what}`, { hint: 'is HF_ENDPOINT right, and no login page of a network between?' });
  }
}

/** Worth another try? */
export const isPassing = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** Retry-After (seconds, at most a minute) where the server asks for more than ours. */
export function waitOf(response: Response, ours: number | undefined): number | undefined {
  const asked = Number(response.headers.get('retry-after')) * 1000;
  return ours === undefined || !(asked > ours) ? ours : Math.min(asked, 60_000);
}

/** fetch hides the cause one level down. */
export function reason(error: unknown): string {
  const { message, name, cause } = error as Error & { cause?: { message?: string; code?: string } };
  if (name === 'TimeoutError') return 'no answer in time';
  return cause?.code ?? cause?.message ?? message ?? String(error);
}
