import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { InputError } from '../../src/errors.js';
import { writeReport } from '../../src/report/write_report.js';
import { edpo } from '../helpers/cli.js';
import { runFolder } from '../helpers/run_folder.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-report-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const good = runFolder(join(dir, 'good'));
/** Writes a report here; notes are what the command would say. */
const write = (folders: string[], output?: string): ReturnType<typeof writeReport> => writeReport({ folders, output });
const refused = async (t: Test, folders: string[], what: RegExp, hint: RegExp, output?: string): Promise<void> => {
  const error = await write(folders, output).then(() => undefined, (e: unknown) => e);
  t.ok(error instanceof InputError, String(error));
  t.match((error as InputError).message, what);
  t.match((error as InputError).hint, hint);
};

t.test('the command: one sentence and a hint, exit 2, nothing on stdout', async (t) => {
  const r = edpo(['report', join(dir, 'nowhere')]);
  t.equal(r.code, 2);
  t.match(r.err, /^edpo: .*nowhere: expected the folder of a run, got nothing there\nhint: edpo report OUTPUT_DIR.*\n$/);
  t.equal(r.out, '');
  const pairs = edpo(['report', good, '--pairs', 'x']);
  t.equal(pairs.code, 2);
  t.match(pairs.err, /^edpo: --pairs: expected a whole number from 0 to 1000, got x\nhint:/);
});

t.test('bad input: one clear error each, and no report', async (t) => {
  mkdirSync(join(dir, 'empty'));
  await refused(t, [join(dir, 'empty')], /is no run: neither trainer_log\.jsonl nor pairs\.ndjson/, /name the --output_dir/);
  await refused(t, [join(good, 'run.json')], /expected the folder of a run, got a file/, /OUTPUT_DIR/);
  const broken = runFolder(join(dir, 'broken'));
  const lines = readFileSync(join(broken, 'pairs.ndjson'), 'utf8').split('\n');
  lines[6] = lines[6]!.slice(0, 40);
  writeFileSync(join(broken, 'pairs.ndjson'), lines.join('\n'));
  await refused(t, [good, broken], /pairs\.ndjson line 7 is broken: no JSON/, /mend or remove that line/);
  t.notOk(existsSync(join(broken, 'report.html')));
  const log = runFolder(join(dir, 'log'));
  appendFileSync(join(log, 'trainer_log.jsonl'), '{"loss":1}\n');
  await refused(t, [log], /trainer_log\.jsonl line 7 is broken: expected an object with a number step/, /mend or remove/);
  const manifest = runFolder(join(dir, 'manifest'));
  writeFileSync(join(manifest, 'run.json'), '{"versions":');
  await refused(t, [manifest], /run\.json cannot be read/, /make it again/);
  writeFileSync(join(dir, 'file'), '');
  await refused(t, [good], /cannot write .*report\.html: .*a part of the path is a file; no report was written/, /--output FILE/, join(dir, 'file', 'report.html'));
  await refused(t, [good], /cannot write .*report\.html/, /--output FILE/, join(dir, 'no', 'such', 'report.html'));
  await refused(t, [good], /cannot write .*good: it is a folder/, /--output .*report\.html/, good);
});

t.test('runs of different versions stand together, with a note on the page and on stderr', async (t) => {
  const other = runFolder(join(dir, 'other'), { version: '0.2.0', seed: 2 });
  const out = join(dir, 'mixed.html');
  const r = edpo(['report', good, other, '--output', out]);
  t.equal(r.code, 0, r.err);
  t.match(r.err, /^note: These runs were made by different versions of edpo \(good by 0\.1\.0, other by 0\.2\.0\)/m);
  t.match(readFileSync(out, 'utf8'), /role="note"[^]*These runs were made by different versions of edpo \(good by 0\.1\.0, other by 0\.2\.0\)/);
});

t.test('runs that have not got far: no line yet, an evaluation alone, half a line at the end, a manifest of the run before', async (t) => {
  const begun = runFolder(join(dir, 'begun'));
  for (const f of ['pairs.ndjson', 'trainer_log.jsonl']) writeFileSync(join(begun, f), '');
  rmSync(join(begun, 'run.json'));
  const report = async (): Promise<string> => readFileSync((await write([begun])).path, 'utf8');
  t.match(await report(), /begun: no step is logged yet/);
  writeFileSync(join(begun, 'trainer_log.jsonl'), '{"step":0,"epoch":0,"eval_loss":0.6931,"eval_rewards/accuracies":0}\n');
  const first = await report();
  t.match(first, /begun: the run is not finished/);
  t.match(first, /id="f-loss"/);
  appendFileSync(join(begun, 'trainer_log.jsonl'), '{"step":1,"epoch":0.1,"loss":0.68}\n{"step":2,"epo');
  appendFileSync(join(begun, 'pairs.ndjson'), `${readFileSync(join(good, 'pairs.ndjson'), 'utf8').split('\n')[0]}\n{"id":1,"st`);
  writeFileSync(join(begun, 'run.json'), JSON.stringify({ versions: { edpo: '0.0.9' }, steps: 80, beta: 0.01 }));
  const half = await report();
  t.match(half, /trainer_log\.jsonl ends in half a line \(line 3\)/);
  t.match(half, /pairs\.ndjson ends in half a line \(line 2\)/);
  t.match(half, /1 optimiser step so far</);
  t.notMatch(half, /0\.0\.9/, 'what an earlier run left is not this run’s');
});

t.test('the same folders give the same bytes', async (t) => {
  const out = join(dir, 'again.html');
  await write([good]);
  await write([good], out);
  t.ok(readFileSync(out).equals(readFileSync(join(good, 'report.html'))));
});

t.test('a long run is summarised, not embedded: 60,000 pairs in 500 steps', async (t) => {
  const long = runFolder(join(dir, 'long'), { steps: 500, batch: 120 });
  const r = edpo(['report', long]);
  t.equal(r.code, 0, r.err);
  const { report, bytes, runs } = JSON.parse(r.out) as { report: string; bytes: number; runs: string[] };
  t.equal(report, join(long, 'report.html'));
  t.same(runs, ['long']);
  t.equal(statSync(report).size, bytes);
  // Measured: this page (0.2 MB) is loaded in 30 to 65 ms by headless Chromium on two shared cores.
  t.ok(bytes < 1_000_000, `${bytes} bytes of a ledger of ${statSync(join(long, 'pairs.ndjson')).size}`);
  const html = readFileSync(report, 'utf8');
  t.match(html, /60\u202f000/);
  for (const table of html.match(/<table id="t-[^]*?<\/table>/g)!) t.ok(table.split('<tr>').length <= 170, 'no table of values is longer than its plot needs');
});

t.test('texts cannot become markup, and are left out with a note where the data are not at hand', async (t) => {
  const data = join(dir, 'data.jsonl');
  writeFileSync(data, Array.from({ length: 24 }, (_, i) => JSON.stringify({ prompt: `</div><script>alert(${i})</script>`, chosen: `<img src=x onerror=alert(1)> ${i}`, rejected: '"\'&' })).join('\n'));
  const config = { loss_type: 'epsilon_dpo', data_files: [data], dataset_format: 'auto' };
  const run = runFolder(join(dir, 'texts'), { config });
  await write([run]);
  const html = readFileSync(join(run, 'report.html'), 'utf8');
  t.match(html, /&lt;script&gt;alert\(\d+\)&lt;\/script&gt;/);
  t.notMatch(html, /<script>alert|<img/);
  rmSync(data);
  await write([run]);
  t.match(readFileSync(join(run, 'report.html'), 'utf8'), /texts: the pairs are named without their texts: data file .* does not exist/);
});

t.test('texts of data from a hub come from its cache, without a request', async (t) => {
  const commit = 'a'.repeat(40);
  const cache = join(dir, 'hub', 'datasets--org--pairs');
  mkdirSync(join(cache, 'refs'), { recursive: true });
  mkdirSync(join(cache, 'snapshots', commit), { recursive: true });
  writeFileSync(join(cache, 'refs', 'main'), commit);
  writeFileSync(join(cache, 'snapshots', commit, 'train.jsonl'), Array.from({ length: 24 }, (_, i) => JSON.stringify({ prompt: `question ${i}`, chosen: ` yes ${i}`, rejected: ` no ${i}` })).join('\n'));
  const run = runFolder(join(dir, 'hubrun'), { config: { loss_type: 'epsilon_dpo', dataset_name: 'org/pairs' } });
  // An endpoint that no one answers at: a request would fail.
  const env = { HF_HUB_CACHE: join(dir, 'hub'), HF_ENDPOINT: 'http://127.0.0.1:9' };
  const r = edpo(['report', run], { env });
  t.equal(r.code, 0, r.err);
  t.notMatch(r.err, /without their texts/);
  t.match(readFileSync(join(run, 'report.html'), 'utf8'), /question \d+/);
  const without = edpo(['report', run], { env: { ...env, HF_HUB_CACHE: join(dir, 'nohub') } });
  t.equal(without.code, 0, without.err);
  t.match(without.err, /hubrun: the pairs are named without their texts: .*org\/pairs/);
});
