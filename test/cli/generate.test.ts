import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { edpo } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-generate-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = 'examples/quickstart/model';

realTest('the published greedy text of stories260K, exactly', async (t) => {
  const golden = JSON.parse(readFileSync(sharedData('models', 'stories260K', 'golden.json'), 'utf8')) as { published: { greedy_200_steps_text: string } };
  const r = edpo(['generate', '--model_name_or_path', sharedData('models', 'stories260K', 'hf'), '--prompt', '', '--temperature', '0', '--max_new_tokens', '200']);
  t.equal(r.code, 0, r.err);
  t.equal((JSON.parse(r.out) as { output: string }).output.trim(), golden.published.greedy_200_steps_text.trim());
});

t.test('answers do not depend on the batch; win rates resume without sampling or judging twice', async (t) => {
  const base = ['eval-winrate', '--model_name_or_path', model, '--dataset_name', 'examples/quickstart/data', '--baseline', 'chosen', '--judge', 'command:node examples/quickstart/judge.mjs', '--n_prompts', '12', '--max_new_tokens', '4'];
  const outputs: string[] = [];
  for (const size of [1, 5, 12]) {
    const out = join(dir, `win${size}`);
    const r = edpo([...base, '--batch_size', String(size), '--output_dir', out]);
    t.equal(r.code, 0, r.err);
    outputs.push(readFileSync(join(out, 'model_outputs.json'), 'utf8'));
    const win = JSON.parse(readFileSync(join(out, 'winrate.json'), 'utf8')) as Record<string, number>;
    t.equal(win['n'], 12);
    t.equal(win['wins'], 0, 'nobody beats the right answers');
    t.equal(win['ties']! + win['losses']!, 12);
    t.equal(win['position_consistency'], 1);
  }
  t.equal(outputs[1], outputs[0]);
  t.equal(outputs[2], outputs[0]);
  const again = edpo([...base, '--batch_size', '12', '--output_dir', join(dir, 'win12')]);
  t.match(again.err, /24 lines are there already[\s\S]*12 lines are there already/);
  t.notMatch(again.err, /^adapter:/m, 'nothing was sampled again');
  const broken = edpo([...base.map((a) => (a.startsWith('command:') ? 'command:exit 3' : a)), '--output_dir', join(dir, 'broken')]);
  t.equal(broken.code, 1);
  t.match(broken.err, /the judge "exit 3" ended with exit code 3/);
});
