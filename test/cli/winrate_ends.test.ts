import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { base, dir, lines } from '../helpers/winrate.js';
import { edpo, edpoKilled } from '../helpers/cli.js';

t.test('a judge that fails stops the sampling; what was judged is kept', async (t) => {
  const out = join(dir, 'failing');
  const failing = join(dir, 'failing.mjs');
  writeFileSync(failing, `import { createInterface } from 'node:readline';
let n = 0;
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify({ id: JSON.parse(line).id, winner: 'tie' }));
  if (++n === 5) process.exit(3);
}`);
  const args = base.map((a) => (a.startsWith('command:') ? `command:node ${failing}` : a)).map((a, i, all) => (all[i - 1] === '--batch_size' ? '1' : a));
  const r = edpo([...args, '--output_dir', out]);
  t.equal(r.code, 1);
  t.match(r.err, /the judge "node [^"]+" ended with exit code 3; 5 verdicts are kept/);
  t.equal(lines(join(out, 'annotations.ndjson')).length, 6);
  t.ok(lines(join(out, 'answers.ndjson')).length - 1 >= 3, 'answers are kept');
});

t.test('SIGTERM while a slow judge works: it ends with what the judge has in hand, keeps it, and the same command goes on', async (t) => {
  const out = join(dir, 'interrupted');
  const slow = join(dir, 'slow.mjs');
  // Reads one line at a time, so that no more than a pipe holds is in its hand, however busy the machine.
  writeFileSync(slow, `import { readSync } from 'node:fs';
const nap = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 25);
const chunk = Buffer.alloc(16384);
let [text, n] = ['', 0];
for (;;) {
  let got = 0;
  try { got = readSync(0, chunk); } catch (error) { if (error.code !== 'EAGAIN') throw error; nap(); continue; }
  if (got === 0) break;
  text += chunk.toString('latin1', 0, got);
  for (let at; (at = text.indexOf('\\n')) >= 0; text = text.slice(at + 1)) {
    nap();
    if (++n === 5) console.error('five are judged');
    console.log(JSON.stringify({ id: JSON.parse(text.slice(0, at)).id, winner: 'tie' }));
  }
}`);
  // Answers as long as a pipe, so that most of them wait in the queue.
  const long = join(dir, 'long.jsonl');
  writeFileSync(long, Array.from({ length: 40 }, (_, index) => `${JSON.stringify({ index, output: 'x'.repeat(60_000) })}\n`).join(''));
  const args = [...base.slice(0, 3), ...base.slice(5).map((a) => (a.startsWith('command:') ? `command:node ${slow}` : a)), '--outputs', long, '--output_dir', out];
  const r = await edpoKilled(args, /five are judged/, 'SIGTERM');
  t.equal(r.code, 130, r.err);
  t.match(r.err, /interrupted; answers and verdicts so far are in/);
  const kept = lines(join(out, 'annotations.ndjson')).length - 1;
  t.ok(kept >= 5 && kept < 80, `${kept} of 80 verdicts`);
  const whole = edpo(args);
  t.equal(whole.code, 0, whole.err);
  t.equal(new Set(lines(join(out, 'annotations.ndjson')).slice(1).map((l) => l['id'])).size, 80);
});
