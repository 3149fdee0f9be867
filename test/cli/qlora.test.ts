import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { edpo } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-qlora-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const lines = (path: string): Array<Record<string, number>> => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
const QLORA = ['--load_in_4bit', 'true', '--use_bnb_nested_quant', 'true'];

realTest('QLoRA of the real model from the command: a cache and adapters off give the same bytes; the adapter runs as trained, and merges', async (t) => {
  const model = sharedData('models', 'stories260K', 'hf');
  const data = join(dir, 'pairs.jsonl');
  const rows = [['Once upon a time', ' there was a big red car.', ' no dogs ran.'], ['The little girl', ' was happy and played in the park.', ' was not.'], ['Tom saw', ' a bird in a tree.', ' the the the.'], ['One day, Lily', ' went to the park with her mom.', ' sat.']];
  writeFileSync(data, Array.from({ length: 16 }, (_, i) => rows[i % 4]!).map(([prompt, chosen, rejected]) => JSON.stringify({ prompt, chosen, rejected })).join('\n'));
  const train = (out: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--data_files', data, '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', '8', '--num_train_epochs', '2', '--learning_rate', '1e-2', '--token_budget', '256', '--logging_steps', '1',
    '--report_html', 'false', '--save_strategy', 'no', '--output_dir', join(dir, out), '--use_peft', 'true', '--lora_r', '4', '--lora_target_modules', 'all-linear', ...more];
  const first = edpo(train('cached', ...QLORA));
  t.equal(first.code, 0, first.err);
  t.match(first.err, /policy: layers’ matrices in NF4 with double quantisation, embeddings and head in float32, [\d.]+ kB instead of [\d.]+ MB in float32/);
  const file = SafetensorsFile.open(join(dir, 'cached', 'adapter_model.safetensors'));
  t.equal(file.metadata['edpo_base_storage'], 'matrices nf4_double');
  file.close();
  const ledger = lines(join(dir, 'cached', 'pairs.ndjson'));
  t.ok(ledger.filter((l) => l['step'] === 1).every((l) => l['epsilon_step'] === 0), 'ties at the first step');
  t.ok(ledger.some((l) => l['epsilon_step'] !== 0), 'and ε-steps after it');
  const losses = lines(join(dir, 'cached', 'trainer_log.jsonl')).filter((l) => 'loss' in l).map((l) => l['loss']!);
  t.ok(losses.at(-1)! < losses[0]! * 0.9, `losses ${losses.join(' ')}`);

  const off = edpo(train('off', ...QLORA, '--ref_mode', 'adapter_off'));
  t.equal(off.code, 0, off.err);
  for (const f of ['pairs.ndjson', 'adapter_model.safetensors']) t.ok(readFileSync(join(dir, 'cached', f)).equals(readFileSync(join(dir, 'off', f))), f);

  const other = edpo(train('other', '--load_in_8bit', 'true', '--ref_cache', join(dir, 'cached', 'ref_cache')));
  t.equal(other.code, 2);
  t.match(other.err, /weights kept in another format[\s\S]*storage is "matrices nf4_double", this run has "matrices int8"/);

  const score = edpo(['eval', '--model_name_or_path', join(dir, 'cached'), ...QLORA, '--ref_mode', 'adapter_off', '--loss_type', 'epsilon_dpo', '--data_files', data, '--token_budget', '256', '--output_dir', join(dir, 'eval')]);
  t.equal(score.code, 0, score.err);
  t.notMatch(score.err, /was trained on a base with/);
  const pairs = lines(join(dir, 'eval', 'pairs.ndjson'));
  for (const l of ledger) t.equal(pairs.find((p) => p['id'] === l['id'])!['ref_logps_chosen'], l['ref_logps_chosen'], 'the reference is the same packed base, to the bit');

  const merged = edpo(['merge', '--model_name_or_path', join(dir, 'cached'), '--output_dir', join(dir, 'merged')]);
  t.equal(merged.code, 0, merged.err);
  t.match(merged.err, /trained on a base with matrices nf4_double; it is merged into the base’s own weights/);
});
