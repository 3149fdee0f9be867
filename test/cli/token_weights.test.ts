import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readExample } from '../../src/model/data/formats.js';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { tokenise } from '../../src/model/data/tokenise.js';
import { chatTemplate } from '../../src/model/text/template.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';
import { edpo, tinyFolder } from '../helpers/cli.js';
import { rng } from '../helpers/rng.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-weights-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = await tinyFolder(join(dir, 'model'));
const r = rng(3);
const ids = (n: number): number[] => Array.from({ length: n }, () => 3 + r.int(30));
interface Row { prompt_ids: number[]; chosen_ids: number[]; rejected_ids: number[]; chosen_weights?: number[]; rejected_weights?: number[] }
const rows: Row[] = Array.from({ length: 8 }, () => ({ prompt_ids: ids(3 + r.int(5)), chosen_ids: ids(2 + r.int(8)), rejected_ids: ids(2 + r.int(8)) }));
const file = (name: string, list: object[]): string => {
  writeFileSync(join(dir, name), list.map((x) => JSON.stringify(x)).join('\n') + '\n');
  return join(dir, name);
};
const weighted = (w: (i: number, n: number) => number): Row[] => rows.map((x) => ({ ...x, chosen_weights: x.chosen_ids.map((_, i) => w(i, x.chosen_ids.length)), rejected_weights: x.rejected_ids.map((_, i) => w(i, x.rejected_ids.length)) }));
const train = (name: string, data: string, ...flags: string[]) =>
  edpo(['train', '--model_name_or_path', model, '--dataset_name', data, '--total_batch_size', '4', '--max_steps', '3', '--learning_rate', '1e-3', '--warmup_ratio', '0', '--logging_steps', '1', '--save_strategy', 'no', '--report_html', 'false', '--output_dir', join(dir, name), ...flags]);
const ledger = (name: string): Array<Record<string, number>> => readFileSync(join(dir, name, 'pairs.ndjson'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);

t.test('sdpo: weights of 1 give DPO’s ledger, byte for byte, from the same cache; others another one', async (t) => {
  const cache = ['--ref_cache', join(dir, 'cache')];
  const plain = train('dpo', file('plain.jsonl', rows), ...cache);
  t.equal(plain.code, 0, plain.err);
  const ones = train('ones', file('ones.jsonl', weighted(() => 1)), '--loss_type', 'sdpo', ...cache);
  t.equal(ones.code, 0, ones.err);
  t.same(ledger('ones'), ledger('dpo'));
  const segment = train('segment', file('segment.jsonl', weighted((i, n) => (i >= n / 2 ? 1 : 0))), '--loss_type', 'sdpo', ...cache);
  t.equal(segment.code, 0, segment.err);
  const [a, b] = [ledger('segment'), ledger('dpo')];
  t.equal(a[0]!.policy_logps_chosen, b[0]!.policy_logps_chosen, 'the first step’s sums of all tokens are DPO’s');
  t.not(a.at(-1)!.loss, b.at(-1)!.loss);
});

const SAVING = ['--max_steps', '4', '--save_strategy', 'steps', '--save_steps', '2'];
/** Goes on from a copy of the run's checkpoint-2 and compares what comes out, byte for byte. */
function resumed(t: Test, name: string, data: string, ...flags: string[]): void {
  const whole = train(name, data, ...SAVING, ...flags);
  t.equal(whole.code, 0, whole.err);
  cpSync(join(dir, name), join(dir, `${name}2`), { recursive: true });
  rmSync(join(dir, `${name}2`, 'checkpoint-4'), { recursive: true });
  rmSync(join(dir, `${name}2`, 'model.safetensors'));
  const again = train(`${name}2`, data, ...SAVING, ...flags, '--resume');
  t.equal(again.code, 0, again.err);
  t.match(again.err, /resuming after step 2 of 4/);
  for (const f of ['pairs.ndjson', 'model.safetensors', 'checkpoint-4/edpo_state.safetensors']) t.ok(readFileSync(join(dir, name, f)).equals(readFileSync(join(dir, `${name}2`, f))), f);
}

t.test('sdpo resumed: the bytes of the uninterrupted run', async (t) => resumed(t, 'sdpo', file('segment.jsonl', weighted((i, n) => (i >= n / 2 ? 1 : 0.25))), '--loss_type', 'sdpo', '--ref_cache', join(dir, 'cache_sdpo')));

t.test('sparsepo with a learned mask: resumed byte for byte; the mask is in the checkpoint, not in the model', async (t) => {
  const flags = ['--loss_type', 'sparsepo', '--sparsepo_mask', 'independent', '--sparsepo_l1', '0.001', '--sparsepo_dropout', '0.1', '--ref_mode', 'live', '--weight_decay', '0.1'];
  const data = file('plain.jsonl', rows);
  resumed(t, 'sparse', data, ...flags, '--eval_data_files', data, '--eval_strategy', 'steps', '--eval_steps', '2');
  const names = (path: string): string[] => {
    const f = SafetensorsFile.open(join(dir, 'sparse', path), undefined, true);
    f.close();
    return [...f.tensors.keys()];
  };
  t.notOk(names('model.safetensors').some((n) => n.includes('mask')));
  const kept = names('checkpoint-4/edpo_state.safetensors');
  for (const n of ['value', 'm', 'v'].flatMap((kind) => ['reward', 'kl'].map((of) => `${kind}.mask.${of}.layers.weight`))) t.ok(kept.includes(n), n);
  t.ok(ledger('sparse').every((l) => l.mask_mean! >= 0) && ledger('sparse').some((l) => l.mask_mean! > 0), 'mask_mean in the ledger');
  const log = readFileSync(join(dir, 'sparse', 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
  t.ok(log.some((l) => l['mask_mean']! > 0) && log.some((l) => l['eval_mask_mean']! > 0), 'and in the log');
  const other = train('sparse2', data, ...SAVING, '--loss_type', 'sparsepo', '--sparsepo_mask', 'common', '--ref_mode', 'live', '--resume');
  t.equal(other.code, 2);
  t.match(other.err, /mask was "independent", is "common"/);
  const evaluated = edpo(['eval', '--model_name_or_path', join(dir, 'sparse'), '--ref_model_name_or_path', model, '--dataset_name', data, '--output_dir', join(dir, 'eval'), '--loss_type', 'sparsepo', '--sparsepo_mask', 'common']);
  t.equal(evaluated.code, 2, evaluated.err);
  t.match(evaluated.err, /a learned mask is in its run’s checkpoints, not in the model’s folder/);
});

t.test('bad weights', async (t) => {
  const refused = (name: string, list: object[], ...flags: string[]): string => {
    const got = train(name, file(`${name}.jsonl`, list), '--loss_type', 'sdpo', ...flags);
    t.equal(got.code, 2, got.err);
    return got.err;
  };
  t.match(refused('short', weighted(() => 1).map((x) => ({ ...x, chosen_weights: [1] }))), /chosen_weights has 1 numbers for \d+ tokens of chosen_ids/);
  t.match(refused('none', rows), /column chosen_weights, rejected_weights is missing/);
  t.match(refused('negative', weighted(() => -1)), /must be a list of numbers from 0 on/);
  t.match(refused('zero', weighted(() => 0)), /a response without a weighted token/);
  t.match(refused('text', [{ prompt: 'ab', chosen: 'c', rejected: 'd' }]), /the method wants token weights, and a plain text has none/);
  t.match(refused('ours', weighted(() => 1), '--ld_alpha', '0.5'), /ld_alpha +is defined for sigmoid.*not for sdpo/);
  const sparse = train('cached', file('ones.jsonl', weighted(() => 1)), '--loss_type', 'sparsepo');
  t.match(sparse.err, /which no cache holds: it needs ref_mode: live/);
  const simpo = train('simpo', file('plain.jsonl', rows), '--loss_type', 'simpo', '--mi_kl', '1');
  t.match(simpo.err, /mi_kl +belongs to loss_type mi_dpo, got loss_type: simpo/);
});

t.test('weights of messages become weights of their tokens; turns are tokenised apart', async (t) => {
  const tokenizer = await loadTokenizer(model);
  const template = chatTemplate("{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}{% if add_generation_prompt %}a:{% endif %}", undefined, {})!;
  const user = (content: string) => ({ role: 'user', content });
  const answer = (content: string, weight?: number) => ({ role: 'assistant', content, ...(weight === undefined ? {} : { weight }) });
  const read = (chosen: object[], rejected: object[]) => {
    const example = readExample({ value: { prompt: [user('hi')], chosen, rejected }, where: 'row 0' }, 'hf', 2, template, true);
    if ('refused' in example) throw new Error(example.refused);
    return tokenise(example, { tokenizer, template, tokenization: 'edpo', weighted: true }, 'row 0');
  };
  const got = read([answer('xy', 0), user('q'), answer('abc')], [answer('x', 0.5), user('why'), answer('z', 0)]);
  const text = (list: number[]): string => list.map((id) => tokenizer.decode([id])).join('');
  t.equal(text(got.prompt), '<s>u:hi.a:');
  t.equal(text(got.responses[0]!), 'xy.u:q.a:abc.</s>');
  t.same(got.weights![0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
  t.equal(text(got.responses[1]!), 'x.u:why.a:z.</s>');
  t.same(got.weights![1], [0.5, 0.5, ...new Array<number>(8).fill(0), 0, 0, 0]);
  t.throws(() => read([answer('x', 1)], [answer('y', 1), user('b'), answer('c')]), /segments of 1 and 2 turns/);
  t.throws(() => read([answer('x')], [answer('y')]), /no message has a "weight"/);
  t.throws(() => read([answer('x', 1), { ...user('b'), weight: 1 }, answer('x', 0)], [answer('y', 1)]), /only an assistant's tokens are the policy's/);
});
