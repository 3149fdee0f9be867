import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { adapterChoices, adapterNames } from '../../src/gpu/adapters.js';
import { hasDeviceSelectLayer, oneOfAlike, pciCards } from '../../src/gpu/identical_cards.js';
import { edpo, edpoKilled, tinyFolder, tinyPairs, type CliResult } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-adapters-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = await tinyFolder(join(dir, 'model'));
const data = tinyPairs(join(dir, 'train.jsonl'), 40);
const more = tinyPairs(join(dir, 'eval.jsonl'), 9, 7);
// With a driver of the system there are two adapters here, llvmpipe and the embedded SwiftShader; a part of a name takes a card as well as the whole.
const names = await adapterNames();
const both = names.some((n) => n.startsWith('llvmpipe'));
const twice = 'llvmpipe,llvmpipe (LLVM';
const only: Record<string, string> = both ? { EDPO_ADAPTER: 'llvmpipe' } : {};

type Line = Record<string, unknown>;
const lines = (path: string): Line[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
const same = (test: Test, a: string, b: string): void => {
  test.same(readdirSync(a).sort(), readdirSync(b).sort());
  for (const f of readdirSync(a)) test.equal(readFileSync(join(a, f)).toString('hex'), readFileSync(join(b, f)).toString('hex'), f);
};
const cache = (to: string, ...rest: string[]): string[] => ['precompute-ref', '--model_name_or_path', model, '--data_files', data, '--eval_data_files', more, '--loss_type', 'epsilon_dpo', '--token_budget', '64', '--ref_cache', to, ...rest];
const win = (to: string, ...rest: string[]): string[] => ['eval-winrate', '--model_name_or_path', model, '--data_files', data, '--max_new_tokens', '12', '--batch_size', '4', '--judge', 'none', '--output_dir', to, ...rest];

/** Runs the command and kills the process that has part `n` as soon as it is named. */
function killing(n: number, args: string[]): Promise<CliResult> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [resolve('bin/edpo.js'), ...args]);
    let [out, err, killed] = ['', '', false];
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => {
      err += d.toString();
      const pid = new RegExp(`process (\\d+) has part ${n} of`).exec(err)?.[1];
      if (pid && !killed) killed = process.kill(Number(pid), 'SIGKILL');
    });
    child.on('close', (code) => done({ code, out, err }));
  });
}

t.test('cards on the PCI bus: which of several alike', async (t) => {
  const root = t.testdir(Object.fromEntries([
    ['0000:00:1f.0', '0x060100', '0x8086', '0x1234'], ['0000:01:00.0', '0x030000', '0x8086', '0x9999'], ['0000:65:00.0', '0x030200', '0x10de', '0x2330'], ['0000:17:00.0', '0x030200', '0x10de', '0x2330'], ['0000:ca:00.0', '0x030000', '0x10de', '0x2684'],
  ].map(([address, kind, vendor, device]) => [address!, { class: `${kind}\n`, vendor: `${vendor}\n`, device: `${device}\n` }])));
  const cards = pciCards(root);
  t.same(cards.map((c) => c.address), ['0000:01:00.0', '0000:17:00.0', '0000:65:00.0', '0000:ca:00.0'], 'display controllers alone, by address');
  t.same(oneOfAlike('nvidia', 2, 0, { cards, layer: true }), { DRI_PRIME: 'pci-0000_17_00_0!' });
  t.same(oneOfAlike('nvidia', 2, 1, { cards, layer: true }), { DRI_PRIME: 'pci-0000_65_00_0!' });
  t.match(oneOfAlike('nvidia', 2, 1, { cards, layer: false }), /device-select layer .* not installed/);
  t.match(oneOfAlike('nvidia', 3, 0, { cards, layer: true }), /no 3 cards of one model from vendor "nvidia"/);
  t.match(oneOfAlike('mesa', 2, 0, { cards, layer: true }), /no 2 cards/);
  t.match(oneOfAlike('nvidia', 1, 0, { cards: cards.filter((c) => c.address !== '0000:17:00.0'), layer: true }), /2 models with 1 cards each/);
  t.same(pciCards(join(root, 'nowhere')), []);
  const layers = join(root, 'implicit');
  mkdirSync(layers);
  t.notOk(hasDeviceSelectLayer({ VK_IMPLICIT_LAYER_PATH: layers }));
  writeFileSync(join(layers, 'VkLayer_MESA_device_select.json'), '{}');
  t.ok(hasDeviceSelectLayer({ VK_IMPLICIT_LAYER_PATH: layers }));
  t.notOk(hasDeviceSelectLayer({ VK_IMPLICIT_LAYER_PATH: layers, VK_LOADER_LAYERS_DISABLE: '~all~' }));
});

t.test('names as adapter takes them', async (t) => {
  t.same(adapterChoices(['A', 'B', 'A']), ['A@0', 'B', 'A@1']);
  t.same(adapterChoices(['RTX 3080 Ti', 'RTX 3080']), ['RTX 3080 Ti', 'RTX 3080@1'], 'a name that is part of another');
  const r = edpo(['doctor', '--adapter', 'no such card']);
  t.equal(r.code, 2);
  t.match(r.err, names.length > 0 ? `this machine offers "${names[0]}"` : 'this machine offers none');
});

t.test('one of several: by number, or an error that says what is here', async (t) => {
  if (!both) return t.pass('one driver’s adapters are needed: the embedded one is reached by its own name alone');
  t.equal(edpo(['doctor', '--adapter', 'llvmpipe@0']).code, 0);
  const beyond = edpo(['doctor', '--adapter', 'llvmpipe@3']);
  t.equal(beyond.code, 2);
  t.match(beyond.err, /no adapter llvmpipe@3: 1 name contains "llvmpipe"; this machine offers "llvmpipe/);
  // The driver twice is two adapters that are alike to the last letter, and on no bus.
  const icd = process.env['VK_DRIVER_FILES']!;
  const text = JSON.parse(readFileSync(icd, 'utf8')) as { ICD: { library_path: string } };
  const library = text.ICD.library_path;
  if (library.includes('/') && !isAbsolute(library)) text.ICD.library_path = resolve(dirname(icd), library);
  const copies = ['a', 'b'].map((n) => join(dir, `${n}.json`));
  if (library.includes('/')) for (const c of copies) writeFileSync(c, JSON.stringify(text));
  else for (const c of copies) copyFileSync(icd, c);
  const env = { VK_DRIVER_FILES: copies.join(':') };
  t.match(edpo(['doctor'], { env }).out, /adapters +--adapter 'llvmpipe .*@0', --adapter 'llvmpipe .*@1'/);
  const alike = edpo(['doctor', '--adapter', 'llvmpipe@1'], { env });
  t.equal(alike.code, 2);
  t.match(alike.err, /2 adapters are called "llvmpipe[^"]*", and they cannot be told apart: no 2 cards of one model from vendor "mesa"/);
});

t.test('wrong words about adapters', async (t) => {
  for (const [rest, message] of [
    [['--adapters', 'a,b,a'], /names "a" twice/], [['--adapters', 'all,a'], /"all" stands alone/], [['--adapters', 'a,b', '--shard', '0/2'], /adapters gives each its shard/], [['--adapters', 'a,b', '--adapter', 'a'], /adapters gives each its own/],
  ] as const) {
    const r = edpo(cache(join(dir, 'none'), ...rest));
    t.equal(r.code, 2, r.err);
    t.match(r.err, message);
  }
  const software = edpo(cache(join(dir, 'none'), '--adapters', 'all'));
  t.equal(software.code, 2);
  t.match(software.err, /no hardware adapter is here/);
  const one = edpo(cache(join(dir, 'one'), '--adapters', both ? 'llvmpipe' : 'swiftshader'));
  t.equal(one.code, 0, one.err);
  t.notMatch(one.err, /has part/, 'one adapter shares nothing');
});

t.test('precompute-ref: parts on one card are the bytes of one run, also after a killed process; on two cards rounding and a header that says so', async (t) => {
  if (!both) return t.pass('two adapters are needed');
  const whole = join(dir, 'whole');
  t.equal(edpo(cache(whole), { env: only }).code, 0);
  const parts = join(dir, 'parts');
  const killed = await killing(2, cache(parts, '--adapters', twice));
  t.equal(killed.code, 1, killed.err);
  t.match(killed.err, /the process on "llvmpipe \(LLVM" \(part 2 of 2\) was killed by SIGKILL before it was through; what is done is kept/);
  t.match(killed.err, /hint: the same command goes on with the rest/);
  const again = edpo(cache(parts, '--adapters', twice));
  t.equal(again.code, 0, again.err);
  same(t, whole, parts);
  const third = edpo(cache(parts, '--adapters', twice));
  t.equal(third.code, 0, third.err);
  t.notMatch(third.err, /has part/, 'a whole cache is not made again');
  t.equal(third.out, again.out);

  const mixed = join(dir, 'mixed');
  const r = edpo(cache(mixed, '--adapters', 'llvmpipe,swiftshader'));
  t.equal(r.code, 0, r.err);
  t.match(r.err, /the parts of train come from kernels that differ \(adapter, driver.*criterion: deadzone/);
  const [header, ...got] = lines(join(mixed, 'ref.train.ndjson'));
  const [, ...want] = lines(join(whole, 'ref.train.ndjson'));
  t.match((header!['kernels'] as Line)['adapter'], /llvmpipe.* \+ .*swiftshader/);
  t.same(got.map((l) => [l['id'], l['chosen'], l['rejected']]), want.map((l) => [l['id'], l['chosen'], l['rejected']]));
  const off = Math.max(...got.flatMap((l, i) => (['chosen_logps', 'rejected_logps'] as const).flatMap((k) => (l[k] as number[]).map((x, j) => Math.abs(x - (want[i]![k] as number[])[j]!)))));
  t.ok(off < 1e-5, `log-probs differ by ${off} at most`);
  t.ok(off > 0, 'the second half is another card’s');
  const train = (...rest: string[]): CliResult => edpo(['train', '--model_name_or_path', model, '--data_files', data, '--total_batch_size', '8', '--max_steps', '1', '--token_budget', '64', '--ref_cache', mixed, '--output_dir', join(dir, `run-${rest.join('-')}`), '--loss_type', ...rest], { env: only });
  t.match(train('epsilon_dpo').err, /comes from another adapter or other kernels \(adapter, driver/);
  t.equal(train('sigmoid').code, 0);
});

t.test('precompute-ref asked to end: both processes finish what they are at, and the same command goes on to the same bytes', async (t) => {
  if (!both) return t.pass('two adapters are needed');
  const many = tinyPairs(join(dir, 'many.jsonl'), 3000, 11);
  const args = (to: string, ...rest: string[]): string[] => ['precompute-ref', '--model_name_or_path', model, '--data_files', many, '--token_budget', '64', '--ref_cache', to, ...rest];
  const [whole, cut] = [join(dir, 'many-whole'), join(dir, 'many-cut')];
  t.equal(edpo(args(whole), { env: only }).code, 0);
  const ended = await edpoKilled(args(cut, '--adapters', twice), /\[llvmpipe\] reference cache/, 'SIGTERM');
  t.equal(ended.code, 130, ended.err);
  t.match(ended.err, /interrupted; .*many-cut keeps what is done/);
  t.ok(readdirSync(cut).every((f) => !f.startsWith('ref.train.ndjson')), 'nothing is joined yet');
  const again = edpo(args(cut, '--adapters', twice));
  t.equal(again.code, 0, again.err);
  same(t, whole, cut);
});

t.test('eval-winrate: the same answers from one process or two, also after a killed one', async (t) => {
  if (!both) return t.pass('two adapters are needed');
  const sorted = (folder: string): Line[] => lines(join(folder, 'answers.ndjson')).slice(1).sort((a, b) => Number(a['index']) - Number(b['index']));
  const [whole, parts] = [join(dir, 'win-whole'), join(dir, 'win-parts')];
  const one = edpo(win(whole), { env: only });
  t.equal(one.code, 0, one.err);
  const killed = await killing(1, win(parts, '--adapters', twice));
  t.equal(killed.code, 1, killed.err);
  t.match(killed.err, /the process on "llvmpipe" \(part 1 of 2\) was killed by SIGKILL/);
  t.equal(sorted(parts).length, 20, 'the other process’s answers are kept');
  const again = edpo(win(parts, '--adapters', twice));
  t.equal(again.code, 0, again.err);
  t.same(sorted(parts), sorted(whole));
  t.equal(again.out, one.out);
  const mixed = join(dir, 'win-mixed');
  const r = edpo(win(mixed, '--adapters', 'llvmpipe,swiftshader', '--baseline', 'chosen'));
  t.equal(r.code, 0, r.err);
  t.match(r.err, /\[swiftshader\] adapter: .*SwiftShader/);
  t.same(sorted(mixed).map((l) => l['index']), sorted(whole).map((l) => l['index']));
});
