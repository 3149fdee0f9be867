import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { edpo, edpoKilled } from '../helpers/cli.js';
import { pairRmFolder } from '../helpers/pairrm_folder.js';
import { realTest, sharedData } from '../helpers/shared.js';
import { data, dir, judge, lines, policy } from '../helpers/winrate.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';

realTest('the HH protocol: 700 single-turn prompts of helpful-base test, the real model against the chosen answers, its KL beside', async (t) => {
  const args = ['eval-winrate', '--model_name_or_path', sharedData('models', 'stories260K', 'hf'), '--dataset_name', sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), '--single_turn', 'true', '--max_prompt_length', '128'];
  const r = edpo([...args, '--ref_model_name_or_path', sharedData('models', 'stories260K-nudged', 'hf'), '--judge', `command:node ${judge}`, '--n_prompts', '6', '--max_new_tokens', '24', '--output_dir', join(dir, 'hh')]);
  t.equal(r.code, 0, r.err);
  t.match(r.err, /prompts: 700 of 2354 rows have one human turn/);
  const win = JSON.parse(readFileSync(join(dir, 'hh', 'winrate.json'), 'utf8')) as Record<string, number>;
  t.equal(win['n'], 6);
  t.ok(win['kl']! > 0 && Number.isFinite(win['kl_monte_carlo']!));
  const e = edpo(['eval-winrate', '--model_name_or_path', policy, '--dataset_name', data, '--single_turn', 'true', '--judge', `command:node ${judge}`, '--output_dir', join(dir, 'not-hh')]);
  t.equal(e.code, 2);
  t.match(e.err, /the data have no prompt to ask/);
});

realTest('the HH protocol end to end: the real model, chosen as the baseline, a PairRM-shaped judge; its KL is edpo eval’s on the same answers, also after a kill', async (t) => {
  const [model, nudged] = [sharedData('models', 'stories260K', 'hf'), sharedData('models', 'stories260K-nudged', 'hf')];
  const pairrm = await pairRmFolder(join(dir, 'pairrm'));
  const out = join(dir, 'hh-pairrm');
  const args = ['eval-winrate', '--model_name_or_path', nudged, '--ref_model_name_or_path', model, '--dataset_name', sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), '--single_turn', 'true', '--max_prompt_length', '96', '--n_prompts', '8', '--max_new_tokens', '20', '--judge', `pairrm:${pairrm}`];
  await edpoKilled([...args, '--output_dir', out], /answers [1-7]\/8|adapter:/);
  const r = edpo([...args, '--output_dir', out]);
  t.equal(r.code, 0, r.err);
  const win = JSON.parse(readFileSync(join(out, 'winrate.json'), 'utf8')) as Record<string, number>;
  t.match(win, { n: 8, invalid: 0, position_consistency: 1, judge: /^pairrm:[0-9a-f]{64}$/ });
  t.equal(win['wins']! + win['ties']! + win['losses']!, 8);
  const verdicts = lines(join(out, 'annotations.ndjson')).slice(1) as Array<{ id: string; winner: string; decision: number }>;
  const by = new Map(verdicts.map((v) => [v.id, v]));
  for (const v of verdicts.filter((v) => v.id.endsWith(':ab'))) t.equal(by.get(v.id.replace(':ab', ':ba'))!.decision, -v.decision, 'antisymmetric to the bit');
  // The same answers as the chosen ones of a tokenised set.
  const answers = lines(join(out, 'answers.ndjson')).slice(1) as Array<{ index: number; ids: number[]; output: string }>;
  const whole = edpo([...args.filter((a) => a !== '--single_turn' && a !== 'true'), '--single_turn', 'true', '--output_dir', join(dir, 'hh-pairrm-again')]);
  t.equal(whole.code, 0, whole.err);
  t.same(lines(join(dir, 'hh-pairrm-again', 'answers.ndjson')).slice(1).map((a) => a['output']).sort(), answers.map((a) => a.output).sort(), 'a killed run has the same answers');
  const prompts = JSON.parse(readFileSync(join(out, 'model_outputs.json'), 'utf8')) as Array<{ instruction: string; output: string }>;
  const tokenizer = await loadTokenizer(model);
  const samples = join(dir, 'hh-samples.jsonl');
  const cut = (ids: number[]): number[] => (ids.length <= 96 ? ids : [ids[0]!, ...ids.slice(ids.length - 95)]);
  const rows = prompts.map((p, i) => ({ prompt: [1, ...tokenizer.encode(`\n\nHuman: ${p.instruction}\n\nAssistant:`)], ids: answers.sort((a, b) => a.index - b.index)[i]!.ids }));
  writeFileSync(samples, rows.map((row) => `${JSON.stringify({ prompt_ids: cut(row.prompt[1] === 1 ? row.prompt.slice(1) : row.prompt), chosen_ids: row.ids, rejected_ids: [...row.ids, 9] })}\n`).join(''));
  const e = edpo(['eval', '--model_name_or_path', nudged, '--ref_model_name_or_path', model, '--dataset_name', samples, '--loss_type', 'epsilon_dpo', '--output_dir', join(dir, 'hh-eval')]);
  t.equal(e.code, 0, e.err);
  const ledger = lines(join(dir, 'hh-eval', 'pairs.ndjson')) as Array<Record<string, number>>;
  const mean = (f: (l: Record<string, number>) => number): number => ledger.reduce((n, l) => n + f(l), 0) / ledger.length;
  t.equal(ledger.length, 8);
  t.ok(win['kl']! > 0 && Math.abs(win['kl']! - mean((l) => l['kl_policy_ref_chosen']!)) < 1e-6, `${win['kl']} nats, edpo eval ${mean((l) => l['kl_policy_ref_chosen']!)}`);
  t.ok(Math.abs(win['kl_monte_carlo']! - mean((l) => l['policy_logps_chosen']! - l['ref_logps_chosen']!)) < 1e-5, `${win['kl_monte_carlo']} nats by the samples`);
});
