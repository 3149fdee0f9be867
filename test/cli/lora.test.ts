import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { edpo, edpoKilled, tinyFolder, tinyPairs, type CliResult } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-lora-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number>;
const lines = (path: string): Line[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
const json = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
const hex = (path: string): string => readFileSync(path).toString('hex');

const model = await tinyFolder(join(dir, 'model'));
const data = tinyPairs(join(dir, 'train.jsonl'), 48);
const evalData = tinyPairs(join(dir, 'eval.jsonl'), 16, 7);
const LORA = ['--use_peft', 'true', '--lora_r', '4', '--lora_alpha', '8'];
const train = (out: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--data_files', data, '--eval_data_files', evalData, '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', '8', '--num_train_epochs', '1', '--learning_rate', '4e-2',
  '--token_budget', '128', '--logging_steps', '3', '--eval_strategy', 'steps', '--eval_steps', '0.5', '--save_steps', '3', '--output_dir', out, ...LORA, '--disable_dropout', 'false', '--lora_dropout', '0.1', ...more];
const whole = join(dir, 'whole');
const FILES = ['pairs.ndjson', 'adapter_model.safetensors', 'adapter_config.json'];

t.test('a run writes an adapter in PEFT’s layout; checkpoints hold adapters alone; a cache and adapters off give the same bytes', async (t) => {
  const r = edpo(train(whole, '--lora_target_modules', 'all-linear'));
  t.equal(r.code, 0, r.err);
  t.notMatch(r.err, /lora_dropout: not used/);
  t.match(r.err, /LoRA: r 4, scale 2, on 14 matrices \(q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj\): \d+ of \d+ parameters are trained/);
  const found = readdirSync(whole);
  for (const f of [...FILES, 'tokenizer.json', 'README.md', 'run.json', 'config.yaml', 'checkpoint-6']) t.ok(found.includes(f), f);
  t.notOk(found.includes('model.safetensors') || found.includes('config.json'), 'no whole model');
  t.match(json(join(whole, 'adapter_config.json')), { base_model_name_or_path: model, peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 4, lora_alpha: 8, target_modules: ['down_proj', 'gate_proj', 'k_proj', 'o_proj', 'q_proj', 'up_proj', 'v_proj'] });
  t.match(readFileSync(join(whole, 'README.md'), 'utf8'), /library_name: peft/);
  const state = SafetensorsFile.open(join(whole, 'checkpoint-6', 'edpo_state.safetensors'));
  t.ok([...state.tensors.keys()].every((n) => /^(value|m|v)\.base_model\.model\..*\.lora_[AB]\.weight$/.test(n)));
  t.equal(state.tensors.size, 3 * 28);
  state.close();
  const b = SafetensorsFile.open(join(whole, 'adapter_model.safetensors'));
  t.ok([...b.tensors.keys()].filter((n) => n.includes('lora_B')).every((n) => b.readF32(n).some((v) => v !== 0)), 'every B has moved');
  b.close();
  const ledger = lines(join(whole, 'pairs.ndjson'));
  t.ok(ledger.filter((l) => l['step'] === 1).every((l) => l['epsilon_step'] === 0 && l['delta_plus'] === 0), 'the first step’s policy is the reference, to the bit');
  t.ok(new Set(ledger.map((l) => l['epsilon_step'])).size > 1, 'ε-steps are taken later');
  const { memory } = json(join(whole, 'run.json')) as { memory: { parts: Record<string, number> } };
  t.notOk('reference head' in memory.parts, 'the head is shared');
  const out = join(dir, 'off');
  const other = edpo(train(out, '--lora_target_modules', 'all-linear', '--ref_mode', 'adapter_off', '--gradient_checkpointing', 'true'));
  t.equal(other.code, 0, other.err);
  for (const f of FILES) t.equal(hex(join(out, f)), hex(join(whole, f)), `adapters off, activations made again: ${f}`);
});

t.test('a run that is cut and resumed ends with the same bytes', async (t) => {
  const out = join(dir, 'cut');
  const r = await edpoKilled(train(out, '--lora_target_modules', 'all-linear'), /evaluation at step 3/, 'SIGTERM');
  t.equal(r.code, 130, r.err);
  const end = edpo(train(out, '--lora_target_modules', 'all-linear', '--resume'));
  t.equal(end.code, 0, end.err);
  t.match(end.err, /resuming after step \d+/);
  for (const f of FILES) t.equal(hex(join(out, f)), hex(join(whole, f)), f);
  t.match(edpo(train(out, '--lora_target_modules', 'all-linear', '--lora_alpha', '4', '--resume')).err, /belongs to another run: lora was/);
});

t.test('merge, eval and generate take the adapter: the merged model is the same one, and is what training evaluated to 1e-5', async (t) => {
  const merged = join(dir, 'merged');
  const m = edpo(['merge', '--model_name_or_path', whole, '--output_dir', merged]);
  t.equal(m.code, 0, m.err);
  t.notMatch(m.err, /^adapter: /m, 'no GPU');
  t.match(JSON.parse(m.out), { merged: 14 });
  for (const f of ['config.json', 'model.safetensors', 'tokenizer.json']) t.ok(existsSync(join(merged, f)), f);
  const { beta } = json(join(whole, 'run.json')) as { beta: number };
  const evaluate = (out: string, ...model: string[]): CliResult => edpo(['eval', ...model, '--dataset_name', evalData, '--loss_type', 'epsilon_dpo', '--beta', String(beta), '--output_dir', join(dir, out)]);
  for (const r of [evaluate('eval-off', '--model_name_or_path', whole, '--ref_mode', 'adapter_off'), evaluate('eval-merged', '--model_name_or_path', merged, '--ref_model_name_or_path', model), evaluate('eval-pair', '--model_name_or_path', model, '--adapter_name_or_path', whole, '--ref_model_name_or_path', model)]) t.equal(r.code, 0, r.err);
  for (const other of ['eval-merged', 'eval-pair']) t.equal(hex(join(dir, other, 'pairs.ndjson')), hex(join(dir, 'eval-off', 'pairs.ndjson')), other);
  const again = json(join(dir, 'eval-merged', 'eval.json')) as Line;
  const last = lines(join(whole, 'trainer_log.jsonl')).filter((l) => 'eval_loss' in l).at(-1)!;
  for (const key of ['loss', 'rewards/margins', 'kl/policy_ref_chosen', 'logps/chosen']) t.ok(Math.abs(again[key]! - last[`eval_${key}`]!) < 1e-5 * Math.max(1, Math.abs(again[key]!)), `${key}: ${again[key]} against ${last[`eval_${key}`]}`);
  for (const key of ['rewards/accuracies', 'kl/p_epsilon_steps', 'kl/n_epsilon_steps']) t.equal(again[key], last[`eval_${key}`], key);
  const generate = (of: string): string => edpo(['generate', '--model_name_or_path', of, '--prompt', 'abc de:', '--max_new_tokens', '8', '--seed', '3']).out;
  t.equal(generate(whole), generate(merged));
  t.not(generate(whole), '');
});

t.test('an adapter is continued, after a change of place too; two stages, SFT and preferences', async (t) => {
  const sft = join(dir, 'sft');
  const r = edpo(['sft', '--model_name_or_path', model, '--data_files', data, '--output_dir', sft, '--num_train_epochs', '1', '--total_batch_size', '16', '--token_budget', '256', '--learning_rate', '1e-2', ...LORA, '--use_rslora', 'true']);
  t.equal(r.code, 0, r.err);
  t.same(json(join(sft, 'adapter_config.json'))['target_modules'], ['q_proj', 'v_proj'], 'PEFT’s default');
  const out = join(dir, 'second');
  const c = edpo(train(out).map((a) => (a === model ? sft : a)));
  t.equal(c.code, 0, c.err);
  t.match(c.err, /continuing the adapter .*sft; rank, alpha and modules are its own/);
  t.match(json(join(out, 'adapter_config.json')), { base_model_name_or_path: model, use_rslora: true, target_modules: ['q_proj', 'v_proj'] });
  const first = lines(join(out, 'pairs.ndjson')).filter((l) => l['step'] === 1);
  t.ok(first.every((l) => l['delta_plus'] !== 0), 'its reference is the base without it');
});

t.test('modules trained in full beside the adapters: written and read as PEFT has them, resumed, merged', async (t) => {
  const saved = ['--lora_modules_to_save', 'lm_head,model.norm'];
  const out = join(dir, 'saved');
  const r = edpo(train(out, ...saved));
  t.equal(r.code, 0, r.err);
  t.match(r.err, /\d+ of \d+ parameters are trained, norm, lm_head in full/);
  const file = SafetensorsFile.open(join(out, 'adapter_model.safetensors'));
  const base = SafetensorsFile.open(join(model, 'model.safetensors'));
  for (const name of ['lm_head.weight', 'model.norm.weight']) t.notSame([...file.readF32(`base_model.model.${name}`)], [...base.readF32(name)], `${name} has moved`);
  t.equal([...file.tensors.keys()].filter((n) => !n.includes('.lora_')).length, 2);
  t.same(json(join(out, 'adapter_config.json'))['modules_to_save'], ['lm_head', 'model.norm'], 'whole paths where an end alone would be more modules');
  const ledger = lines(join(out, 'pairs.ndjson'));
  t.ok(ledger.filter((l) => l['step'] === 1).every((l) => l['epsilon_step'] === 0 && l['delta_plus'] === 0), 'the first step’s policy is the reference, to the bit');

  const cut = join(dir, 'saved-cut');
  const k = await edpoKilled(train(cut, ...saved, '--ref_mode', 'adapter_off'), /evaluation at step 3/, 'SIGTERM');
  t.equal(k.code, 130, k.err);
  const end = edpo(train(cut, ...saved, '--ref_mode', 'adapter_off', '--resume'));
  t.equal(end.code, 0, end.err);
  for (const f of FILES) t.equal(hex(join(cut, f)), hex(join(out, f)), `cut, resumed, adapters off: ${f}`);

  const merged = join(dir, 'saved-merged');
  const m = edpo(['merge', '--model_name_or_path', out, '--output_dir', merged]);
  t.equal(m.code, 0, m.err);
  t.match(m.err, /4 matrices of .* merged, 2 tensors taken from the adapter/);
  const { beta } = json(join(out, 'run.json')) as { beta: number };
  const e = edpo(['eval', '--model_name_or_path', merged, '--ref_model_name_or_path', model, '--dataset_name', evalData, '--loss_type', 'epsilon_dpo', '--beta', String(beta), '--output_dir', join(dir, 'eval-saved')]);
  t.equal(e.code, 0, e.err);
  const again = json(join(dir, 'eval-saved', 'eval.json')) as Line;
  const last = lines(join(out, 'trainer_log.jsonl')).filter((l) => 'eval_loss' in l).at(-1)!;
  for (const key of ['loss', 'rewards/margins', 'kl/policy_ref_chosen', 'logps/chosen']) t.ok(Math.abs(again[key]! - last[`eval_${key}`]!) < 1e-5 * Math.max(1, Math.abs(again[key]!)), `${key}: ${again[key]} against ${last[`eval_${key}`]}`);
});

t.test('bad input', async (t) => {
  const refused = (r: CliResult, message: RegExp): void => {
    t.equal(r.code, 2, r.err);
    t.match(r.err, message);
    t.match(r.err, /\nhint: /, 'a hint to type');
    t.notMatch(r.err, /\n\s+at .*\(|^adapter: /m, 'no stack trace, no GPU');
  };
  const other = (...more: string[]): string[] => train(join(dir, 'never'), ...more);
  refused(edpo(other('--lora_r', '0')), /lora_r +expected a whole number > 0, got 0/);
  refused(edpo(other('--lora_target_modules', 'q_proj,W_pack')), /W_pack matches no matrix of this llama model's layers; there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj/);
  refused(edpo(other('--lora_modules_to_save', 'lm_head,wte')), /lora_modules_to_save: wte matches no module of this llama model; there are embed_tokens, /);
  refused(edpo(other('--use_peft', 'false').map((a) => (a === model ? whole : a))), /whole is a LoRA adapter, and this run would train all weights/);
  refused(edpo(['merge', '--model_name_or_path', model, '--output_dir', join(dir, 'x')]), /model is no LoRA adapter: there is nothing to merge/);
  refused(edpo(['merge', '--model_name_or_path', whole, '--output_dir', model]), /model is not empty/);

  const changed = await tinyFolder(join(dir, 'changed'), 9);
  refused(edpo(['merge', '--model_name_or_path', changed, '--adapter_name_or_path', whole, '--output_dir', join(dir, 'x')]), /was trained on other weights than those of .*changed: it was trained on .*model, SHA-256/);
  const wide = await tinyFolder(join(dir, 'wide'), 1, { intermediate_size: 31 });
  refused(edpo(['merge', '--model_name_or_path', wide, '--adapter_name_or_path', whole, '--output_dir', join(dir, 'x')]), /does not fit .*wide[\s\S]*gate_proj\.lora_B\.weight: expected \[31, 4\], got \[27, 4\]/);
  const moved = join(dir, 'moved');
  cpSync(whole, moved, { recursive: true });
  writeFileSync(join(moved, 'adapter_config.json'), JSON.stringify({ ...json(join(whole, 'adapter_config.json')), base_model_name_or_path: '/nowhere/base' }));
  refused(edpo(['merge', '--model_name_or_path', moved, '--output_dir', join(dir, 'x')]), /is for the base \/nowhere\/base, which is not there\nhint: --model_name_or_path BASE --adapter_name_or_path/);
});
