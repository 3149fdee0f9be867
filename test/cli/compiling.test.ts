import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { watchCompilation } from '../../src/cli/compiling.js';
import { createIo } from '../../src/cli/io.js';
import { Compilation, type CompilationWave } from '../../src/gpu/compilation.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-compiling-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const turn = (ms = 0): Promise<void> => new Promise((done) => setTimeout(done, ms));

t.test('a wave lasts from the first pipeline asked for until none is under way; a failed one is no longer under way', async (t) => {
  const compilation = new Compilation();
  const waves: CompilationWave[] = [];
  let begun = 0;
  compilation.onBegin = () => begun++;
  compilation.onEnd = (wave) => waves.push(wave);
  const settle: Array<(ok: boolean) => void> = [];
  const pipeline = (): Promise<void> => new Promise((done, failed) => settle.push((ok) => (ok ? done() : failed(new Error('does not compile')))));
  for (let i = 0; i < 3; i++) compilation.track(pipeline());
  settle[0]!(true);
  settle[2]!(false);
  await turn();
  t.same([compilation.made, compilation.asked, begun, waves.length], [2, 3, 1, 0]);
  settle[1]!(true);
  await turn();
  compilation.track(Promise.resolve());
  await turn();
  t.same(waves.map((w) => w.pipelines), [3, 1]);
  t.equal(begun, 2);
  t.ok(waves[0]!.seconds >= 0);
});

t.test('a terminal sees kernels counted while they compile, and the line goes when they are done', async (t) => {
  const compilation = new Compilation();
  const said: string[] = [];
  watchCompilation(compilation, { ...createIo({ quiet: true }), isTTY: true, say: (text) => void said.push(text) });
  const written = t.capture(process.stderr, 'write', () => true);
  let done = (): void => undefined;
  compilation.track(new Promise<void>((resolve) => (done = resolve)));
  compilation.track(Promise.resolve());
  await turn(150);
  done();
  await turn();
  const text = written().map((c) => String(c.args[0]));
  written.restore();
  t.match(text[0], /^\r\x1b\[Kcompiling kernels for this adapter: 1 of 2 {2}0s$/);
  t.equal(text.at(-1), '\r\x1b[K');
  t.same(said, [], 'a short wait leaves nothing behind');
});

t.test('the log has the kernels and seconds of every wave', async (t) => {
  const r = edpo(['precompute-ref', '--model_name_or_path', await tinyFolder(join(dir, 'model')), '--data_files', tinyPairs(join(dir, 'train.jsonl'), 4), '--ref_cache', join(dir, 'cache'), '--token_budget', '64'], { env: { EDPO_LOG: 'info' } });
  t.equal(r.code, 0, r.err);
  const waves = r.err.split('\n').filter((l) => l.startsWith('{')).map((l) => JSON.parse(l) as Record<string, unknown>).filter((l) => l['msg'] === 'kernels compiled');
  t.ok(waves.length > 0 && waves.every((w) => (w['pipelines'] as number) > 0 && (w['seconds'] as number) >= 0));
  t.ok(Math.max(...waves.map((w) => w['pipelines'] as number)) >= 10, 'a model’s kernels are compiled in one wave');
});
