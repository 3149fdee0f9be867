import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { LiveReport } from '../../src/report/live.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { runFolder } from '../helpers/run_folder.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-live-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

let threads = 0;
process.on('worker', () => threads++);

t.test('a line of the log makes the report anew beside the run, and the end once more', async (t) => {
  const run = runFolder(join(dir, 'run'));
  const page = join(run, 'report.html');
  const warnings: string[] = [];
  const live = new LiveReport(run, (w) => warnings.push(w), 0);
  live.write();
  t.notOk(existsSync(page), 'not before write() returns: no step waits for it');
  while (!existsSync(page) && warnings.length === 0) await wait(20);
  t.same(warnings, []);
  t.equal(threads, 1);
  const first = readFileSync(page);
  t.equal(await live.finish(), page);
  t.ok(readFileSync(page).equals(first), 'of the same lines the same page');
});

t.test('a report that cannot be written is a warning, told once, and the end says it again', async (t) => {
  const run = runFolder(join(dir, 'broken'));
  mkdirSync(join(run, 'report.html'));
  const warnings: string[] = [];
  const live = new LiveReport(run, (w) => warnings.push(w), 0);
  live.write();
  while (warnings.length === 0) await wait(20);
  t.match(warnings, [/^the report was not written: cannot write .*report\.html: it is a folder; the run goes on, and edpo report .*broken tries again$/]);
  t.equal(await live.finish(), undefined);
  t.equal(warnings.length, 2);
});

t.test('before it is due a line starts nothing', async (t) => {
  const run = runFolder(join(dir, 'early'));
  const live = new LiveReport(run, (w) => t.fail(w), 1e9);
  const before = threads;
  live.write();
  await wait(0);
  t.equal(threads, before);
});

t.test('edpo train: the last line names the report; without it there is none; a failure is no failure of the run', async (t) => {
  const model = await tinyFolder(join(dir, 'model'));
  const data = tinyPairs(join(dir, 'train.jsonl'), 16);
  const out = join(dir, 'trained');
  const args = ['train', '--model_name_or_path', model, '--data_files', data, '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', '8', '--num_train_epochs', '1', '--token_budget', '128', '--logging_steps', '1', '--output_dir', out];
  const r = edpo(args);
  t.equal(r.code, 0, r.err);
  t.equal(r.err.trimEnd().split('\n').at(-1), `report: ${join(out, 'report.html')}`);
  t.equal((JSON.parse(r.out) as { report: string }).report, join(out, 'report.html'));
  const html = readFileSync(join(out, 'report.html'), 'utf8');
  t.match(html, /epsilon_dpo/);
  t.notMatch(html, /steps? so far/, 'the page is of the finished run');

  rmSync(join(out, 'report.html'));
  mkdirSync(join(out, 'report.html'));
  const anew = edpo([...args, '--overwrite_output_dir', 'true']);
  t.equal(anew.code, 0, anew.err);
  t.match(anew.err, /warning: the report was not written: cannot write .*it is a folder/);
  t.notOk('report' in (JSON.parse(anew.out) as object));

  rmSync(join(out, 'report.html'), { recursive: true });
  const without = edpo([...args, '--overwrite_output_dir', 'true', '--report_html', 'false']);
  t.equal(without.code, 0, without.err);
  t.notOk(existsSync(join(out, 'report.html')));
});
