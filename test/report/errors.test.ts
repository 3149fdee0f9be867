import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { edpo } from '../helpers/cli.js';
import { runFolder } from '../helpers/run_folder.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-report-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const good = runFolder(join(dir, 'good'));
const refused = (t: Test, args: string[], what: RegExp, hint: RegExp): void => {
  const r = edpo(['report', ...args]);
  t.equal(r.code, 2, r.err);
  t.match(r.err, what);
  t.match(r.err, hint);
  t.notMatch(r.err, /\n\s+at /);
  t.equal(r.out, '');
};

t.test('bad input: one clear error each, and no report', async (t) => {
  refused(t, [join(dir, 'nowhere')], /edpo: .*nowhere: expected the folder of a run, got nothing there/, /hint: edpo report OUTPUT_DIR/);
  mkdirSync(join(dir, 'empty'));
  refused(t, [join(dir, 'empty')], /is no run: neither trainer_log\.jsonl nor pairs\.ndjson/, /hint: name the --output_dir/);
  refused(t, [join(good, 'run.json')], /expected the folder of a run, got a file/, /hint:/);
  const broken = runFolder(join(dir, 'broken'));
  const lines = readFileSync(join(broken, 'pairs.ndjson'), 'utf8').split('\n');
  lines[6] = lines[6]!.slice(0, 40);
  writeFileSync(join(broken, 'pairs.ndjson'), lines.join('\n'));
  refused(t, [good, broken], /pairs\.ndjson line 7 is broken: no JSON/, /hint: mend or remove that line/);
  t.notOk(existsSync(join(broken, 'report.html')));
  const log = runFolder(join(dir, 'log'));
  appendFileSync(join(log, 'trainer_log.jsonl'), '{"loss":1}\n');
  refused(t, [log], /trainer_log\.jsonl line 7 is broken: expected an object with a number step/, /hint:/);
  const manifest = runFolder(join(dir, 'manifest'));
  writeFileSync(join(manifest, 'run.json'), '{"versions":');
  refused(t, [manifest], /run\.json cannot be read/, /hint:/);
  writeFileSync(join(dir, 'file'), '');
  refused(t, [good, '--output', join(dir, 'file', 'report.html')], /cannot write .*report\.html: .*a part of the path is a file; no report was written/, /hint: --output FILE/);
  refused(t, [good, '--output', join(dir, 'no', 'such', 'report.html')], /cannot write .*report\.html/, /hint: --output FILE/);
  refused(t, [good, '--output', good], /cannot write .*good: it is a folder/, /hint: --output .*report\.html/);
  refused(t, [good, '--pairs', 'x'], /--pairs: expected a whole number from 0 to 1000, got x/, /hint:/);
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
  const report = (): string => {
    const r = edpo(['report', begun]);
    t.equal(r.code, 0, r.err);
    return readFileSync(join(begun, 'report.html'), 'utf8');
  };
  t.match(report(), /begun: no step is logged yet/);
  writeFileSync(join(begun, 'trainer_log.jsonl'), '{"step":0,"epoch":0,"eval_loss":0.6931,"eval_rewards/accuracies":0}\n');
  const first = report();
  t.match(first, /begun: the run is not finished/);
  t.match(first, /id="f-loss"/);
  appendFileSync(join(begun, 'trainer_log.jsonl'), '{"step":1,"epoch":0.1,"loss":0.68}\n{"step":2,"epo');
  appendFileSync(join(begun, 'pairs.ndjson'), `${readFileSync(join(good, 'pairs.ndjson'), 'utf8').split('\n')[0]}\n{"id":1,"st`);
  writeFileSync(join(begun, 'run.json'), JSON.stringify({ versions: { edpo: '0.0.9' }, steps: 80, beta: 0.01 }));
  const half = report();
  t.match(half, /trainer_log\.jsonl ends in half a line \(line 3\)/);
  t.match(half, /pairs\.ndjson ends in half a line \(line 2\)/);
  t.match(half, /1 optimiser step so far</);
  t.notMatch(half, /0\.0\.9/, 'what an earlier run left is not this run’s');
});

t.test('the same folders give the same bytes', async (t) => {
  const out = join(dir, 'again.html');
  t.equal(edpo(['report', good]).code, 0);
  t.equal(edpo(['report', good, '--output', out]).code, 0);
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
  t.equal(edpo(['report', run]).code, 0);
  const html = readFileSync(join(run, 'report.html'), 'utf8');
  t.match(html, /&lt;script&gt;alert\(\d+\)&lt;\/script&gt;/);
  t.notMatch(html, /<script>alert|<img/);
  rmSync(data);
  const r = edpo(['report', run]);
  t.equal(r.code, 0, r.err);
  t.match(readFileSync(join(run, 'report.html'), 'utf8'), /texts: the pairs are named without their texts: data file .* does not exist/);
});
