import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-mixture-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = await tinyFolder(join(dir, 'model'));
const data = tinyPairs(join(dir, 'data.jsonl'), 12);

/** Losses by step of a run of three steps. */
function losses(name: string, ...flags: string[]): number[] {
  const out = join(dir, name);
  const r = edpo(['train', '--model_name_or_path', model, '--dataset_name', data, '--total_batch_size', '4', '--max_steps', '3', '--learning_rate', '0', '--logging_steps', '1', '--save_strategy', 'no', '--output_dir', out, ...flags]);
  t.equal(r.code, 0, r.err);
  return readFileSync(join(out, 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => (JSON.parse(l) as { loss: number }).loss);
}

t.test('a mixture’s loss is the weighted sum of its parts’, rpo_alpha adds the same NLL as sft does', async (t) => {
  const [dpo, bco, both, nll, rpo] = [losses('dpo'), losses('bco', '--loss_type', 'bco_pair'), losses('both', '--loss_type', 'sigmoid,bco_pair', '--loss_weights', '0.8,0.2'), losses('nll', '--loss_type', 'sigmoid,sft', '--loss_weights', '1,0.5'), losses('rpo', '--rpo_alpha', '0.5')];
  both.forEach((x, i) => t.ok(Math.abs(x - (0.8 * dpo[i]! + 0.2 * bco[i]!)) < 1e-6, `${x}`));
  t.same(nll, rpo);
  rpo.forEach((x, i) => t.ok(x > dpo[i]! + 0.5, 'an NLL of more than one nat a token'));
  // What was resolved is a configuration again.
  const again = edpo(['config', join(dir, 'both', 'config.yaml'), '--for', 'train']);
  t.equal(again.code, 0, again.err);
  t.equal(again.out, readFileSync(join(dir, 'both', 'config.yaml'), 'utf8'));
});

t.test('a mixture that makes no sense says why', async (t) => {
  const r = edpo(['train', '--model_name_or_path', model, '--dataset_name', data, '--output_dir', join(dir, 'bad'), '--loss_type', 'sigmoid,epsilon_dpo']);
  t.equal(r.code, 2);
  t.match(r.err, /loss_type +epsilon_dpo gives each pair a β of its own/);
});
