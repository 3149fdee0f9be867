import { cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { Asked, blobOf, cacheOf, commit, dir, edpo, folder, hub, inspect, newHome, pairs, refused, TOKEN, weights } from '../helpers/hub.js';
import { tinyFolder, tinyPairs } from '../helpers/cli.js';
import type { Ran } from '../helpers/hub_server.js';

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
