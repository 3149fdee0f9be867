import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { edpo, edpoKilled, tinyFolder } from '../helpers/cli.js';
import { rng } from '../helpers/rng.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-threads-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = await tinyFolder(join(dir, 'model'));
const r = rng(5);
const sentence = (n: number): string => Array.from({ length: n }, () => String.fromCharCode(97 + r.int(26)).repeat(1 + r.int(6))).join(' ');
/** Enough bytes for threads (most of them in a column that nobody reads), with empty responses in rows 40 and 1200. */
const data = join(dir, 'train.jsonl');
writeFileSync(data, Array.from({ length: 1300 }, (_, i) => JSON.stringify({ prompt: `${sentence(180)}:`, chosen: i === 40 || i === 1200 ? '' : ` ${sentence(120)}`, rejected: ` ${sentence(120)}`, notes: 'x'.repeat(5500) })).join('\n'));
const cores = availableParallelism();
const args = (...rest: string[]): string[] => ['inspect', '--model_name_or_path', model, '--data_files', data, '--bad_rows', 'drop', '--max_length', '0', '--max_prompt_length', '0', '--json', ...rest];
const threads = (err: string): number => Number(/"threads":(\d+).*"msg":"tokenising"/.exec(err)?.[1]);

t.test('the same rows and words with threads and without', (t) => {
  const one = edpo(args('--dataset_num_proc', '1'), { env: { EDPO_LOG: 'info' } });
  t.equal(one.code, 0, one.err);
  t.equal(threads(one.err), 1);
  const several = edpo(args('--dataset_num_proc', '3'), { env: { EDPO_LOG: 'info' } });
  t.equal(several.code, 0, several.err);
  t.equal(threads(several.err), Math.min(3, cores), 'the data are large enough for threads');
  t.equal(several.out, one.out);
  const said = (err: string): string => err.split('\n').filter((l) => !l.startsWith('{')).join('\n');
  t.equal(said(several.err), said(one.err));
  t.match(said(one.err), /1298 of 1300 rows kept.*\n.*dropped, empty response: 2 \(rows 40, 1200\)/);
  const refused = ['1', '3'].map((n) => edpo([...args('--dataset_num_proc', n), '--bad_rows', 'error']));
  t.match(refused[0], { code: 2, err: /empty response: 2 rows \(40, 1200, counted from 0; the first is .*train.jsonl line 41\)/ });
  t.same(refused[1], refused[0]);
  t.match(edpo(args('--dataset_num_proc', '0')), { code: 2, err: /dataset_num_proc/ });
  t.end();
});

t.test('SIGINT while threads tokenise ends the process at once', { skip: cores === 1 ? 'one core: no threads' : false }, async (t) => {
  const large = join(dir, 'large.jsonl');
  const whole = `${readFileSync(data, 'utf8')}\n`;
  writeFileSync(large, whole.repeat(20));
  const before = process.env['EDPO_LOG'];
  process.env['EDPO_LOG'] = 'info';
  t.teardown(() => { if (before === undefined) delete process.env['EDPO_LOG']; else process.env['EDPO_LOG'] = before; });
  const started = Date.now();
  const killed = await edpoKilled(args('--data_files', large), /"msg":"tokenising"/, 'SIGINT');
  t.equal(killed.signal, 'SIGINT', 'as a shell reports with 130');
  t.ok(threads(killed.err) > 1);
  t.ok(Date.now() - started < 30_000, 'not after all rows');
});

t.test('an installed package finds its thread', { skip: cores === 1 ? 'one core: no threads' : false }, (t) => {
  const packed = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8' });
  t.equal(packed.status, 0, packed.stderr);
  const files = (JSON.parse(packed.stdout) as Array<{ files: Array<{ path: string }> }>)[0]!.files.map((f) => f.path);
  t.ok(files.includes('dist/src/model/data/row_worker.js'));
  const home = join(dir, 'app', 'node_modules', 'edpo');
  for (const f of files) {
    mkdirSync(join(home, dirname(f)), { recursive: true });
    cpSync(f, join(home, f));
  }
  // Its dependencies beside it, as npm lays them out; the package itself is a copy, not a link.
  for (const name of readdirSync('node_modules').filter((n) => !n.startsWith('.') && n !== 'edpo')) symlinkSync(join(process.cwd(), 'node_modules', name), join(dir, 'app', 'node_modules', name));
  const run = spawnSync(process.execPath, [join(home, 'bin', 'edpo.js'), ...args()], { encoding: 'utf8', cwd: dir, env: { ...process.env, EDPO_LOG: 'info' }, maxBuffer: 1 << 28 });
  t.equal(run.status, 0, run.stderr);
  t.ok(threads(run.stderr) > 1);
  t.match(run.stderr, /1298 of 1300 rows kept/);
  t.end();
});
