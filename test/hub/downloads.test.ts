import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { blobOf, cacheOf, commit, edpo, fault, folder, hub, inspect, newHome, pairs, refused, TOKEN, weights } from '../helpers/hub.js';
import { edpoAsync, type Fault } from '../helpers/hub_server.js';

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
