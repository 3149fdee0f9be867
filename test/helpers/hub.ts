import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { tinyFolder, tinyPairs } from './cli.js';
import { edpoAsync, HubServer, type Fault, type Ran, type Seen } from './hub_server.js';

/** A folder of the test file’s own, gone with it. */
export const dir = mkdtempSync(join(tmpdir(), 'edpo-hub-'));
export const hub = await HubServer.start();
t.teardown(() => {
  hub.close();
  rmSync(dir, { recursive: true, force: true });
});
// Tries wait for seconds before they give up.
t.setTimeout(600_000);

export const TOKEN = 'hf_thisIsTheSecretOfTheTest';
export const folder = await tinyFolder(join(dir, 'model'), 1);
writeFileSync(join(folder, 'pytorch_model.bin'), 'not needed');
writeFileSync(join(folder, 'README.md'), 'not needed');
export const commit = hub.add('models', 'org/tiny', folder);
export const weights = readFileSync(join(folder, 'model.safetensors'));
export const blobOf = (content: Buffer | string): string => createHash('sha256').update(content).digest('hex');
export const pairs = tinyPairs(join(dir, 'pairs.jsonl'), 6);

let homes = 0;
/** A cache of its own. */
export const newHome = (): string => join(dir, `home-${homes++}`);
export const cacheOf = (home: string, repo = 'models--org--tiny'): string => join(home, 'hub', repo);
export interface Asked { home: string; token?: string; env?: Record<string, string>; endpoint?: string; kill?: (err: string) => boolean }
export const edpo = async (args: string[], o: Asked): Promise<Ran> =>
  edpoAsync(args, { HF_HOME: o.home, HF_HUB_CACHE: '', HUGGINGFACE_HUB_CACHE: '', HF_ENDPOINT: o.endpoint ?? hub.url, HF_TOKEN: o.token ?? '', HF_HUB_OFFLINE: '', ...o.env }, o.kill).done;
/** The shortest command that opens a model and data: no GPU. */
export const inspect = (o: Asked, ...more: string[]): Promise<Ran> => edpo(['inspect', '--model_name_or_path', 'org/tiny', '--dataset_name', pairs, '--max_train_samples', '1', '--json', ...more], o);
/** What the hub does wrong with the requests for these paths. */
export const fault = (on: RegExp, make: (nth: number, seen: Seen) => Fault | undefined): void => {
  hub.fault = (seen, nth) => (on.test(seen.path) ? make(nth, seen) : undefined);
};
/** One sentence that says what to do, and no secret. */
export const refused = (t: Test, r: Ran, code: number, ...expected: RegExp[]): void => {
  t.equal(r.code, code, r.err);
  t.equal(r.out, '');
  t.match(r.err, /^edpo: /m);
  t.notMatch(r.err, /\n\s+at |internal error/);
  t.notMatch(r.err + r.out, TOKEN);
  for (const e of expected) t.match(r.err, e);
};
t.beforeEach(() => hub.forget());
