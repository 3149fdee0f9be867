import { createHash } from 'node:crypto';
import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { tinyFolder, tinyPairs } from '../helpers/cli.js';
import { edpoAsync, HubServer, type Fault, type Ran, type Seen } from '../helpers/hub_server.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-hub-'));
const hub = await HubServer.start();
t.teardown(() => {
  hub.close();
  rmSync(dir, { recursive: true, force: true });
});
// Tries wait for seconds before they give up.
t.setTimeout(600_000);

const TOKEN = 'hf_thisIsTheSecretOfTheTest';
const folder = await tinyFolder(join(dir, 'model'), 1);
writeFileSync(join(folder, 'pytorch_model.bin'), 'not needed');
writeFileSync(join(folder, 'README.md'), 'not needed');
const commit = hub.add('models', 'org/tiny', folder);
const weights = readFileSync(join(folder, 'model.safetensors'));
const blobOf = (content: Buffer | string): string => createHash('sha256').update(content).digest('hex');
const pairs = tinyPairs(join(dir, 'pairs.jsonl'), 6);

let homes = 0;
const newHome = (): string => join(dir, `home-${homes++}`);
const cacheOf = (home: string, repo = 'models--org--tiny'): string => join(home, 'hub', repo);
interface Asked { home: string; token?: string; env?: Record<string, string>; endpoint?: string; kill?: (err: string) => boolean }
const edpo = async (args: string[], o: Asked): Promise<Ran> =>
  edpoAsync(args, { HF_HOME: o.home, HF_HUB_CACHE: '', HUGGINGFACE_HUB_CACHE: '', HF_ENDPOINT: o.endpoint ?? hub.url, HF_TOKEN: o.token ?? '', HF_HUB_OFFLINE: '', ...o.env }, o.kill).done;
/** The shortest command that opens a model and data: no GPU. */
const inspect = (o: Asked, ...more: string[]): Promise<Ran> => edpo(['inspect', '--model_name_or_path', 'org/tiny', '--dataset_name', pairs, '--max_train_samples', '1', '--json', ...more], o);
const fault = (on: RegExp, make: (nth: number, seen: Seen) => Fault | undefined): void => {
  hub.fault = (seen, nth) => (on.test(seen.path) ? make(nth, seen) : undefined);
};
const refused = (t: Test, r: Ran, code: number, ...expected: RegExp[]): void => {
  t.equal(r.code, code, r.err);
  t.equal(r.out, '');
  t.match(r.err, /^edpo: /m);
  t.notMatch(r.err, /\n\s+at |internal error/);
  t.notMatch(r.err + r.out, TOKEN);
  for (const e of expected) t.match(r.err, e);
};
t.beforeEach(() => hub.forget());

t.test('a model by its hub id: only what is needed, in the usual cache; the second run downloads nothing', async (t) => {
  const home = newHome();
  const first = await inspect({ home, token: TOKEN });
  t.equal(first.code, 0, first.err);
  t.match(first.err, /org\/tiny@main \([0-9a-f]{7}\): 4 files, .* free/);
  t.same(hub.downloads.map((s) => s.path.split('/').at(-1)).sort(), ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
  const cache = cacheOf(home);
  t.equal(readFileSync(join(cache, 'refs/main'), 'utf8'), commit);
  const file = join(cache, 'snapshots', commit, 'model.safetensors');
  t.equal(readlinkSync(file), `../../blobs/${blobOf(weights)}`);
  t.ok(readFileSync(file).equals(weights));
  t.ok(hub.seen.filter((s) => s.host === '127.0.0.1').every((s) => s.authorization === `Bearer ${TOKEN}`), 'the hub sees the token');
  t.same(hub.seen.filter((s) => s.host === 'localhost').map((s) => s.authorization), [undefined], 'the host of large files does not');
  t.notMatch(first.err + first.out, TOKEN);

  hub.forget();
  const second = await inspect({ home });
  t.equal(second.code, 0, second.err);
  t.equal(second.out, first.out);
  t.same(hub.downloads, [], 'no download request');
  t.notMatch(second.err, /org\/tiny@/);
  const local = await edpo(['inspect', '--model_name_or_path', folder, '--dataset_name', pairs, '--max_train_samples', '1', '--json'], { home });
  t.equal(local.out, first.out, 'the same as from a folder');

  hub.forget();
  for (const [env, args] of [[{ HF_HUB_OFFLINE: '1' }, []], [{}, ['--offline']]] as Array<[Record<string, string>, string[]]>) {
    const offline = await inspect({ home, env }, ...args);
    t.equal(offline.code, 0, offline.err);
    t.equal(offline.out, first.out);
  }
  t.same(hub.seen, [], 'offline asks nothing');
  const gone = await inspect({ home, endpoint: 'http://127.0.0.1:9' });
  t.equal(gone.code, 0, gone.err);
  t.match(gone.err, /warning: the hub http:\/\/127\.0\.0\.1:9 cannot be reached; org\/tiny is taken from the cache/);
});

t.test('a plan by a model’s id: its config.json is all that is fetched, and no GPU is opened', async (t) => {
  const home = newHome();
  const r = await edpo(['plan', '--model_name_or_path', 'org/tiny', '--json'], { home });
  t.equal(r.code, 0, r.err);
  t.same(hub.downloads.map((s) => s.path.split('/').at(-1)), ['config.json']);
  t.notMatch(r.err, /^adapter: /m);
  t.match(JSON.parse(r.out), { model_type: 'llama', cards_gb: [8, 12, 16, 24, 48, 80, 141] });
  const trained = await inspect({ home });
  t.equal(trained.code, 0, trained.err);
  t.ok(hub.downloads.some((s) => s.path.endsWith('model.safetensors')), 'the rest follows when it is needed');
});

t.test('generate from the hub', async (t) => {
  const r = await edpo(['generate', '--model_name_or_path', 'org/tiny', '--prompt', 'abc', '--max_new_tokens', '4', '--temperature', '0'], { home: newHome() });
  t.equal(r.code, 0, r.err);
  t.match(JSON.parse(r.out), { prompt: 'abc', tokens: Number });
});

t.test('a training run from the hub, with its evaluation split; the card names the base, a run offline gives the same weights', async (t) => {
  const lines = (seed: number, n: number): Buffer => readFileSync(tinyPairs(join(dir, `split-${seed}.jsonl`), n, seed));
  hub.add('datasets', 'org/train', { 'data/train.jsonl': lines(11, 8), 'data/test.jsonl': lines(12, 4), 'data/other.jsonl': 'not needed' });
  const home = newHome();
  const train = (out: string, ...more: string[]): Promise<Ran> => edpo(['train', '--model_name_or_path', `org/tiny@${commit}`, '--dataset_name', 'org/train', '--output_dir', join(dir, out), '--max_steps', '2', '--total_batch_size', '4', '--learning_rate', '1e-3', '--eval_strategy', 'steps', '--eval_steps', '1', ...more], { home });
  const r = await train('run-online');
  t.equal(r.code, 0, r.err);
  t.same(hub.downloads.filter((s) => s.path.includes('org/train')).map((s) => s.path.split('/').at(-1)).sort(), ['test.jsonl', 'train.jsonl']);
  t.match(readFileSync(join(dir, 'run-online/README.md'), 'utf8'), /^base_model: org\/tiny$/m);
  hub.forget();
  const again = await train('run-offline', '--offline');
  t.equal(again.code, 0, again.err);
  t.same(hub.seen, []);
  const of = (run: string): Buffer => readFileSync(join(dir, run, 'model.safetensors'));
  t.ok(of('run-online').equals(of('run-offline')));
});

t.test('revisions: name, key and commit; both is an error', async (t) => {
  const other = await tinyFolder(join(dir, 'other'), 2);
  const v1 = hub.add('models', 'org/tiny', other, 'v1');
  const home = newHome();
  t.equal((await inspect({ home }, '--model_revision', 'v1')).code, 0);
  t.same(readdirSync(join(cacheOf(home), 'snapshots')), [v1]);
  t.equal(readFileSync(join(cacheOf(home), 'refs/v1'), 'utf8'), v1);
  t.equal((await edpo(['inspect', '--model_name_or_path', `org/tiny@${commit}`, '--dataset_name', pairs], { home })).code, 0);
  t.same(readdirSync(join(cacheOf(home), 'refs')), ['v1'], 'a commit needs no ref');
  refused(t, await inspect({ home }, '--model_revision', 'v2'), 2, /the model org\/tiny has no revision v2\nhint: .*refs/);
  refused(t, await edpo(['inspect', '--model_name_or_path', 'org/tiny@v1', '--model_revision', 'main', '--dataset_name', pairs], { home }), 2, /names the revision v1, model_revision is main/);
  refused(t, await inspect({ home }, '--model_revision', '../../x'), 2, /expected a branch, tag or commit/);
  t.match((await edpo(['inspect', '--model_name_or_path', folder, '--model_revision', 'v1', '--dataset_name', pairs], { home })).err, /note: model_revision: not used/);
});

t.test('a broken connection resumes with a range', async (t) => {
  const home = newHome();
  fault(/resolve\/.*model\.safetensors$/, (nth) => (nth < 2 ? { cutAfter: 1000 } : undefined));
  const r = await inspect({ home });
  t.equal(r.code, 0, r.err);
  const ranges = hub.downloads.filter((s) => s.path.endsWith('model.safetensors')).map((s) => s.range);
  t.same(ranges, [undefined, 'bytes=1000-', 'bytes=2000-']);
  t.ok(readFileSync(join(cacheOf(home), 'blobs', blobOf(weights))).equals(weights));
});

t.test('a server that stalls, and one without ranges', async (t) => {
  const home = newHome();
  fault(/resolve\/.*model\.safetensors$/, (nth) => (nth === 0 ? { stallAfter: 500 } : { noRanges: true }));
  const r = await inspect({ home, env: { HF_HUB_DOWNLOAD_TIMEOUT: '1' } });
  t.equal(r.code, 0, r.err);
  t.same(hub.downloads.filter((s) => s.path.endsWith('model.safetensors')).map((s) => s.range), [undefined, 'bytes=500-']);
  t.ok(readFileSync(join(cacheOf(home), 'blobs', blobOf(weights))).equals(weights), 'begun again, not appended');
});

t.test('a killed download resumes; nothing is offered as whole before it is', async (t) => {
  const home = newHome();
  const partial = join(cacheOf(home), 'blobs', `${blobOf(weights)}.incomplete`);
  fault(/resolve\/.*model\.safetensors$/, () => ({ stallAfter: 3000 }));
  const running = edpoAsync(['inspect', '--model_name_or_path', 'org/tiny', '--dataset_name', pairs], { HF_HOME: home, HF_ENDPOINT: hub.url });
  while (!(existsSync(partial) && statSync(partial).size === 3000)) await new Promise((d) => setTimeout(d, 20));
  running.kill();
  t.equal((await running.done).signal, 'SIGKILL');
  t.notOk(existsSync(join(cacheOf(home), 'snapshots')), 'no snapshot yet');
  refused(t, await inspect({ home }, '--offline'), 2, /not in the cache .* offline is set\nhint: run once without --offline/);
  hub.forget();
  const r = await inspect({ home });
  t.equal(r.code, 0, r.err);
  t.match(r.err, /kB of them already here/);
  t.equal(hub.downloads.find((s) => s.path.endsWith('model.safetensors'))?.range, 'bytes=3000-');
  t.ok(readFileSync(join(cacheOf(home), 'snapshots', commit, 'model.safetensors')).equals(weights));
  t.notOk(existsSync(partial));
});

t.test('a partial file with wrong bytes is found out and begun again', async (t) => {
  const home = newHome();
  mkdirSync(join(cacheOf(home), 'blobs'), { recursive: true });
  writeFileSync(join(cacheOf(home), 'blobs', `${blobOf(weights)}.incomplete`), Buffer.alloc(777, 1));
  const r = await inspect({ home });
  t.equal(r.code, 0, r.err);
  t.ok(readFileSync(join(cacheOf(home), 'blobs', blobOf(weights))).equals(weights));
});

t.test('passing errors are tried again, lasting ones end in one sentence', async (t) => {
  const home = newHome();
  hub.fault = (seen, nth) => (nth === 0 ? { status: seen.path.startsWith('/api') ? 500 : 503 } : undefined);
  const r = await inspect({ home });
  t.equal(r.code, 0, r.err);
  hub.forget();
  fault(/resolve/, () => ({ status: 500 }));
  refused(t, await inspect({ home: newHome() }), 1, /stopped at 0 of \d+ bytes: the hub answers 500\nhint: what has arrived is kept/);
  hub.forget();
  fault(/api/, () => ({ status: 502 }));
  refused(t, await inspect({ home: newHome() }), 2, /org\/tiny is no folder or file here, and the hub .* cannot be reached: answers 502/);
});

t.test('401, 403, 404: what to type', async (t) => {
  const home = newHome();
  fault(/resolve/, (_, seen): Fault => (seen.authorization ? { status: 403, headers: { 'x-error-code': 'GatedRepo', 'x-error-message': `not on the list ${TOKEN}` } } : { status: 401, headers: { 'x-error-code': 'GatedRepo' } }));
  refused(t, await inspect({ home }), 2, /the model org\/tiny is gated: .* no token is set\nhint: ask for access on http.*\/org\/tiny, then: export HF_TOKEN=hf_…/);
  refused(t, await inspect({ home, token: TOKEN }), 2, /is gated: .* the token in use has none/);
  hub.forget();
  for (const token of ['', TOKEN]) {
    const r = await edpo(['inspect', '--model_name_or_path', 'org/nothing', '--dataset_name', pairs], { home, token });
    refused(t, r, 2, /org\/nothing is no folder or file here, and the hub .* has no model of that name/);
  }
  fault(/api/, () => ({ status: 401, headers: { 'x-error-message': `Invalid credentials in Authorization header ${TOKEN}` } }));
  refused(t, await inspect({ home, token: TOKEN }), 2, /the hub refuses the token \(401: Invalid credentials.*\*\*\*\)/);
  const debug = await inspect({ home, token: TOKEN }, '--debug');
  t.notMatch(debug.err, TOKEN, 'nor in the debug log');
  refused(t, await inspect({ home, token: 'hf_a b' }), 2, /HF_TOKEN holds characters/);
});

t.test('wrong sizes and wrong content', async (t) => {
  const home = newHome();
  fault(/resolve\/.*model\.safetensors$/, () => ({ content: weights.subarray(0, weights.length - 8) }));
  refused(t, await inspect({ home }), 1, /model\.safetensors should have \d+ bytes as the hub lists it, the server sends \d+/);
  const other = Buffer.from(weights);
  other[other.length - 1] ^= 1;
  fault(/resolve\/.*model\.safetensors$/, () => ({ content: other }));
  refused(t, await inspect({ home }), 1, /model\.safetensors arrived with other content than the hub lists \(SHA-256 differs\)/);
  t.notOk(existsSync(join(cacheOf(home), 'blobs', `${blobOf(weights)}.incomplete`)));
  fault(/resolve\/.*config\.json$/, (_, seen) => (seen.path.endsWith('/config.json') ? { content: Buffer.from(readFileSync(join(folder, 'config.json'), 'utf8').replace('1', '2')) } : undefined));
  refused(t, await inspect({ home: newHome() }), 1, /config\.json arrived with other content than the hub lists \(git SHA-1 differs\)/);
});

t.test('more than the disk has is refused before a byte is fetched', async (t) => {
  const big = hub.add('models', 'org/big', folder);
  hub.lie('models', 'org/big', big, 'model.safetensors', 9e15);
  const r = await edpo(['inspect', '--model_name_or_path', 'org/big', '--dataset_name', pairs], { home: newHome() });
  refused(t, r, 2, /org\/big needs 9000000\.00 GB more and .* has .* free\nhint: export HF_HUB_CACHE=DIR/);
  t.same(hub.downloads, []);
});

t.test('answers that no hub gives', async (t) => {
  fault(/revision/, () => ({ body: '<html>log in</html>' }));
  refused(t, await inspect({ home: newHome() }), 1, /answers about org\/tiny as no hub does/);
  fault(/tree/, () => ({ body: JSON.stringify([{ type: 'file', path: '../../evil.json', size: 1, oid: '0'.repeat(40) }]) }));
  refused(t, await inspect({ home: newHome() }), 1, /as no hub does: the file "\.\.\/\.\.\/evil\.json"/);
  hub.forget();
  hub.add('models', 'org/bin', { 'config.json': '{}', 'pytorch_model.bin': 'x' });
  refused(t, await edpo(['inspect', '--model_name_or_path', 'org/bin', '--dataset_name', pairs], { home: newHome() }), 2, /has no \*\.safetensors file \(but pytorch_model\.bin, which edpo does not read\)/);
  refused(t, await inspect({ home: newHome(), endpoint: 'huggingface' }), 2, /HF_ENDPOINT: expected http\(s\):\/\/HOST/);
});

t.test('shards by the index, in parallel up to a bound', async (t) => {
  const shards = Array.from({ length: 6 }, (_, i) => `model-0000${i + 1}-of-00006.safetensors`);
  const map = Object.fromEntries(shards.map((s, i) => [`t${i}`, s]));
  hub.add('models', 'org/shards', {
    'config.json': readFileSync(join(folder, 'config.json')), 'model.safetensors.index.json': JSON.stringify({ weight_map: map }), 'consolidated.safetensors': 'twice the same',
    ...Object.fromEntries(shards.map((s, i) => [s, `shard ${i}`])),
  });
  const home = newHome();
  // All stall: as many as are asked for at once.
  fault(/-of-00006/, () => ({ stallAfter: 1 }));
  const running = edpoAsync(['inspect', '--model_name_or_path', 'org/shards', '--dataset_name', pairs], { HF_HOME: home, HF_ENDPOINT: hub.url });
  const asked = (): number => hub.downloads.filter((s) => s.path.includes('-of-00006')).length;
  while (asked() < 4) await new Promise((d) => setTimeout(d, 20));
  await new Promise((d) => setTimeout(d, 500));
  t.equal(asked(), 4);
  running.kill();
  await running.done;
  hub.forget();
  const r = await edpo(['inspect', '--model_name_or_path', 'org/shards', '--dataset_name', pairs], { home });
  // These shards hold no tensors: they arrive, and reading them fails.
  t.match(r.err, /6 files, /);
  const got = readdirSync(join(cacheOf(home, 'models--org--shards'), 'snapshots', readFileSync(join(cacheOf(home, 'models--org--shards'), 'refs/main'), 'utf8')));
  t.same(got.sort(), ['config.json', 'model.safetensors.index.json', ...shards].sort(), 'not the second copy of the weights');
});

t.test('two processes at once: one waits for the other', async (t) => {
  const home = newHome();
  fault(/resolve\/.*model\.safetensors$/, (nth) => (nth === 0 ? { stallAfter: 2000 } : undefined));
  const both = await Promise.all([inspect({ home, env: { HF_HUB_DOWNLOAD_TIMEOUT: '4' } }), inspect({ home, env: { HF_HUB_DOWNLOAD_TIMEOUT: '4' } })]);
  for (const r of both) t.equal(r.code, 0, r.err);
  t.match(both[0]!.err + both[1]!.err, /another process fills .*; waiting for it/);
  t.equal(hub.downloads.filter((s) => s.path.endsWith('/tokenizer.json')).length, 1, 'each file once');
});

t.test('a data set: the split’s files alone, of any layout edpo reads on disk', async (t) => {
  const quickstart = resolve('examples/quickstart/data');
  const lines = (n: number, of: string): string => readFileSync(join(quickstart, of), 'utf8').split('\n').slice(0, n).join('\n') + '\n';
  hub.add('datasets', 'org/pairs', { 'README.md': '# pairs', 'data/train-00000-of-00002.jsonl': lines(3, 'train.jsonl'), 'data/train-00001-of-00002.jsonl': lines(2, 'test.jsonl'), 'data/test-00000-of-00001.jsonl': lines(2, 'test.jsonl'), 'helpful/train.jsonl': lines(1, 'train.jsonl') });
  const home = newHome();
  const model = resolve('examples/quickstart/model');
  const see = (o: Asked, ...args: string[]): Promise<Ran> => edpo(['inspect', '--model_name_or_path', model, '--max_train_samples', '9', '--json', ...args], o);
  const r = await see({ home }, '--dataset_name', 'org/pairs');
  t.equal(r.code, 0, r.err);
  t.equal(r.out.match(/^\{"id":/gm)?.length, 5);
  t.same(hub.downloads.map((s) => s.path.split('/').at(-1)).sort(), ['train-00000-of-00002.jsonl', 'train-00001-of-00002.jsonl']);
  hub.forget();
  t.equal((await see({ home }, '--dataset_name', 'org/pairs')).out, r.out);
  t.same(hub.downloads, []);
  t.equal((await see({ home }, '--dataset_name', 'org/pairs@main', '--data_dir', 'helpful', '--dataset_revision', 'main')).out.match(/^\{"id":/gm)?.length, 1);
  t.equal((await see({ home }, '--dataset_name', 'org/pairs', '--data_files', 'data/test-00000-of-00001.jsonl')).out.match(/^\{"id":/gm)?.length, 2);
  refused(t, await see({ home }, '--dataset_name', 'org/pairs', '--dataset_train_split', 'validation'), 2, /org\/pairs, org\/pairs\/data: no \.jsonl, \.json or \.parquet file whose name starts with "validation"/);
  refused(t, await see({ home }, '--dataset_name', 'org/none'), 2, /has no data set of that name/);
  t.equal((await see({ home }, '--dataset_name', 'org/pairs', '--offline')).out, r.out);
  // Another tool's cache with one of two parts is not taken for the whole.
  const partial = newHome();
  cpSync(home, partial, { recursive: true, verbatimSymlinks: true });
  const snapshots = join(cacheOf(partial, 'datasets--org--pairs'), 'snapshots');
  rmSync(join(snapshots, readdirSync(snapshots)[0]!, 'data/train-00001-of-00002.jsonl'));
  refused(t, await see({ home: partial }, '--dataset_name', 'org/pairs', '--offline'), 2, /data\/train-00001-of-00002\.jsonl is not in the cache/);
});

t.test('the token file of Hugging Face’s own tools; HF_HUB_CACHE', async (t) => {
  const home = newHome();
  mkdirSync(home);
  writeFileSync(join(home, 'token'), `${TOKEN}\n`);
  const cache = join(dir, 'elsewhere');
  const r = await inspect({ home, env: { HF_HUB_CACHE: cache } });
  t.equal(r.code, 0, r.err);
  t.equal(hub.seen[0]!.authorization, `Bearer ${TOKEN}`);
  t.ok(lstatSync(join(cache, 'models--org--tiny/snapshots', commit, 'config.json')).isSymbolicLink());
  hub.forget();
  await inspect({ home: newHome(), env: { HF_HUB_CACHE: '', HF_TOKEN_PATH: join(home, 'token'), HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' } });
  t.equal(hub.seen[0]!.authorization, undefined);
});
