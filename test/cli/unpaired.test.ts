import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-unpaired-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number | null>;
const lines = (path: string): Line[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
const hex = (path: string): string => readFileSync(path).toString('hex');

const model = await tinyFolder(join(dir, 'model'));
const pairs = tinyPairs(join(dir, 'pairs.jsonl'), 12);
interface Pair { prompt: string; chosen: string; rejected: string }
const rows = readFileSync(pairs, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Pair);
const write = (name: string, labelled: Array<Record<string, unknown>>): string => {
  writeFileSync(join(dir, name), labelled.map((x) => JSON.stringify(x)).join('\n') + '\n');
  return join(dir, name);
};
const single = write('single.jsonl', rows.map(({ prompt, chosen, rejected }, i) => ({ prompt, completion: i % 3 === 0 ? rejected : chosen, label: i % 3 !== 0 })));
const train = (out: string, loss: string, data: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--dataset_name', data, '--loss_type', loss, '--total_batch_size', '6', '--num_train_epochs', '1', '--learning_rate', '3e-3',
  '--lr_scheduler_type', 'constant', '--token_budget', '256', '--save_strategy', 'no', '--report_html', 'false', '--output_dir', join(dir, out), ...more];

t.test('KTO on single responses: the ledger’s sides, z, and the same from a cache and a small budget as live in one micro-batch', async (t) => {
  const r = edpo(train('kto', 'kto', single, '--ref_mode', 'live', '--max_length', '18', '--truncation_mode', 'keep_start'));
  t.equal(r.code, 0, r.err);
  t.match(r.err, /8 desirable and 4 undesirable responses/);
  t.match(r.err, /note: desirable_weight × desirable is 2\.00 of undesirable_weight × undesirable.*--undesirable_weight 2\.00/);
  const ledger = lines(join(dir, 'kto', 'pairs.ndjson'));
  t.equal(ledger.length, 12);
  for (const l of ledger) {
    const bad = l['id']! % 3 === 0;
    t.equal(l['policy_logps_chosen'] === null, bad, 'an undesirable response stands on the rejected side');
    t.equal(l['reward_rejected'] === null, !bad);
    t.equal(l['tokens_rejected'] === null, !bad);
    t.equal(l['beta'], null);
    t.ok(l['kl']! >= 0, 'z is not below 0');
  }
  t.ok(ledger.filter((l) => l['step'] === 1).every((l) => l['kl'] === 0 && l['loss'] === 0.5), 'policy = reference: z = 0 and σ(0)');
  const log = lines(join(dir, 'kto', 'trainer_log.jsonl'));
  for (const key of ['rewards/chosen', 'rewards/rejected', 'rewards/margins', 'logps/chosen', 'logps/rejected', 'kl']) t.ok(key in log[0]!, key);
  t.notOk('rewards/accuracies' in log[0]!, 'no pairs, no accuracy');
  const cached = edpo(train('kto2', 'kto', single, '--token_budget', '40', '--max_length', '18', '--truncation_mode', 'keep_start'));
  t.equal(cached.code, 0, cached.err);
  const other = lines(join(dir, 'kto2', 'pairs.ndjson'));
  t.same(other.filter((l) => l['step'] === 1), ledger.filter((l) => l['step'] === 1), 'step 1 to the bit');
  for (const [i, l] of other.entries()) t.ok(Math.abs(l['loss']! - ledger[i]!['loss']!) < 1e-4 && Math.abs(l['kl']! - ledger[i]!['kl']!) < 1e-3, `row ${l['id']}: ${l['loss']} and ${ledger[i]!['loss']}`);
});

t.test('pairs are split; one cache with mismatched pairs serves every method; a resume ends with the same bytes, running mean and all', async (t) => {
  const cache = join(dir, 'cache');
  const made = edpo(['precompute-ref', '--model_name_or_path', model, '--dataset_name', pairs, '--loss_type', 'epsilon_dpo,kto', '--token_budget', '256', '--ref_cache', cache]);
  t.equal(made.code, 0, made.err);
  const [header, first] = lines(join(cache, 'ref.train.ndjson')) as unknown as [{ mismatched?: boolean; stores: string }, { mismatched_logps: number[][] }];
  t.equal(header.mismatched, true);
  t.equal(header.stores, 'hidden', 'and what epsilon_dpo needs');
  t.equal(first.mismatched_logps.length, 2);
  // Half of it lost: a method that needs less completes it as it was begun.
  const whole = readFileSync(join(cache, 'ref.train.ndjson'), 'utf8');
  writeFileSync(join(cache, 'ref.train.ndjson'), whole.split('\n').slice(0, 8).map((l) => `${l}\n`).join(''));
  const args = (out: string, ...more: string[]): string[] => train(out, 'bco', pairs, '--ref_cache', cache, '--group_size', '4', '--save_strategy', 'steps', '--save_steps', '1', ...more);
  const r = edpo(args('bco'));
  t.equal(r.code, 0, r.err);
  t.equal(readFileSync(join(cache, 'ref.train.ndjson'), 'utf8'), whole, 'to the same bytes');
  t.match(r.err, /12 pairs are split into 24 single responses, the chosen ones desirable, the rejected ones not \(bco is of single responses\)/);
  t.equal(lines(join(dir, 'bco', 'pairs.ndjson')).length, 24);
  const state = JSON.parse(readFileSync(join(dir, 'bco', 'checkpoint-4', 'edpo_state.json'), 'utf8')) as { methodState: number[] };
  t.equal(state.methodState[1], 24, 'rewards in the running mean');
  t.ok(state.methodState[0] !== 0);
  cpSync(join(dir, 'bco'), join(dir, 'again'), { recursive: true });
  const again = edpo(args('again', '--resume_from_checkpoint', join(dir, 'again', 'checkpoint-2')));
  t.equal(again.code, 0, again.err);
  for (const f of ['pairs.ndjson', 'model.safetensors', 'checkpoint-4/edpo_state.safetensors']) t.equal(hex(join(dir, 'again', f)), hex(join(dir, 'bco', f)), f);
  const resumed = JSON.parse(readFileSync(join(dir, 'again', 'checkpoint-4', 'edpo_state.json'), 'utf8')) as { methodState: number[] };
  t.same(resumed.methodState, state.methodState);
});

t.test('plan says what a group costs; what is no data or no group for a method is refused', async (t) => {
  const plan = (...more: string[]): string => edpo(['plan', '--model_name_or_path', model, '--dataset_name', pairs, '--total_batch_size', '6', ...more]).out;
  t.match(plan('--loss_type', 'aot', '--token_budget', '40'), /aot takes statistics over 6 documents \(group_size\), more than a micro-batch holds: one more forward pass for their log-probs, \d+ micro-batches a step/);
  t.match(plan('--loss_type', 'kto', '--token_budget', '1000'), /kto takes statistics over 6 documents: each group fits a micro-batch, no other pass/);
  const good = write('good.jsonl', rows.map(({ prompt, chosen }) => ({ prompt, completion: chosen, label: true })));
  const odd = write('odd.jsonl', rows.map(({ prompt, chosen }) => ({ prompt, completion: chosen, label: 'yes' })));
  const same = write('same.jsonl', rows.map(({ chosen }, i) => ({ prompt: 'a:', completion: chosen, label: i % 2 === 0 })));
  for (const [args, message] of [
    [train('no', 'sigmoid', single), /line 1: one response with a label \(unpaired data\), and the method learns from pairs[\s\S]*--loss_type kto/],
    [train('no', 'kto', good), /no row has label false: kto learns from both kinds, and all 12 rows are true/],
    [train('no', 'kto', odd), /line 1: label must be true or false, got "yes"/],
    [train('no', 'kto', same), /all rows have the same prompt/],
  ] as const) {
    const r = edpo([...args]);
    t.equal(r.code, 2, r.err);
    t.match(r.err, message);
  }
});
