import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { COMMANDS, KEYS, META } from '../../src/config/keys.js';
import { readYaml } from '../../src/config/yaml.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const bin = join(root, 'bin/edpo.js');
const dir = mkdtempSync(join(tmpdir(), 'edpo-cli-config-'));
t.teardown(() => rmSync(dir, { recursive: true }));
// Forty processes are started one after the other.
t.setTimeout(300_000);

const edpo = (...args: string[]): SpawnSyncReturns<string> => spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', cwd: root });
let files = 0;
const yaml = (text: string): string => {
  const path = join(dir, `${files++}.yaml`);
  writeFileSync(path, text);
  return path;
};
const resolved = (r: SpawnSyncReturns<string>): Record<string, unknown> => Object.fromEntries(readYaml(r.stdout, 'stdout', []).map((e) => [e.key, e.value]));
/** One clear error: exit 2, nothing on stdout, no stack, a hint. */
const refuses = (t: Test, r: SpawnSyncReturns<string>, ...expected: RegExp[]): void => {
  t.equal(r.status, 2);
  t.equal(r.stdout, '');
  t.match(r.stderr, /^edpo: /);
  t.match(r.stderr, /\nhint: /);
  t.notMatch(r.stderr, /\n\s+at /);
  for (const e of expected) t.match(r.stderr, e);
};

t.test('a misspelt key: nearest name and line', async (t) => {
  refuses(t, edpo('config', yaml('beta: 0.1\nlearning_rat: 1.0e-6\n')), /0\.yaml has 1 problem\n {2}learning_rat {2}unknown key; did you mean learning_rate\? {3}line 2\n/);
});

t.test('wrong type and out of range: expected, got, line', async (t) => {
  refuses(t, edpo('config', yaml('learning_rate: "5e-7x"\n')), /learning_rate {2}expected a number >= 0, got "5e-7x" \(string\) {3}line 1/);
  refuses(t, edpo('config', yaml('loss_type: epsilon_dpo\nepsilon: 1.5\n')), /epsilon {2}expected a number in \(0, 1\), got 1\.5 {3}line 2/);
  refuses(t, edpo('config', '--beta', '-1'), /the command line has 1 problem\n {2}beta {2}expected a number > 0, got -1 {3}--beta/);
});

t.test('contradictions', async (t) => {
  refuses(t, edpo('config', yaml('total_batch_size: 100\nper_device_train_batch_size: 16\ngradient_accumulation_steps: 8\n')), /total_batch_size {2}is 100, but .* is 128; give one of the two {3}line 1/);
  refuses(t, edpo('config', yaml('loss_type: epsilon_dpo\ncriterion: deadzone\n')), /needs criterion_deadzone > 0/);
  refuses(t, edpo('train', '--model_name_or_path', 'm', '--output_dir', 'o', '--data_files', 'a.jsonl', '--eval_strategy', 'steps'), /eval_strategy {2}is steps, but there are no evaluation data/);
});

t.test('broken YAML names its line', async (t) => {
  refuses(t, edpo('config', yaml('beta: 0.1\nlearning_rate: [1, 2\n')), /\.yaml line [23][,:] /);
  refuses(t, edpo('config', yaml('beta: 0.1\n\tseed: 1\n')), /line 2, column 1: /);
  refuses(t, edpo('config', yaml('beta: 0.1\nseed: 1\nbeta: 0.2\n')), /line 3, column 1: /);
  refuses(t, edpo('config', join(dir, 'none.yaml')), /cannot read the configuration .*none\.yaml/);
});

t.test('several problems are printed at once, by line', async (t) => {
  const r = edpo('config', yaml('beta: -1\nlearning_rat: 1\nuse_dora: true\nlr_scheduler_type: cosin\n'), '--seed', 'x');
  refuses(t, r, /has 5 problems/);
  t.match(r.stderr, /beta .*line 1\n.*learning_rat .*line 2\n.*use_dora .*not available.*line 3\n.*lr_scheduler_type .*did you mean cosine\?.*line 4\n.*seed .*--seed\n/);
});

t.test('a TRL file runs, with a note per foreign key', async (t) => {
  const r = edpo('config', yaml(`model_name_or_path: Qwen/Qwen2-0.5B-Instruct
dtype: bfloat16
attn_implementation: flash_attention_2
dataset_name: trl-lib/ultrafeedback_binarized
loss_type: [sigmoid]
learning_rate: 5.0e-7
num_train_epochs: 1
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
max_length: null
precompute_ref_log_probs: true
optim: adamw_torch_fused
bf16: true
eval_strategy: steps
eval_steps: 50
report_to: trackio
output_dir: Qwen2-0.5B-DPO
`), '--for', 'train');
  t.equal(r.status, 0, r.stderr);
  t.match(resolved(r), { dtype: 'float32', save_dtype: 'bfloat16', loss_type: 'sigmoid', learning_rate: 5e-7, max_length: 0, optim: 'adamw_torch', per_device_train_batch_size: 2, gradient_accumulation_steps: 8 });
  for (const key of ['dtype', 'attn_implementation', 'precompute_ref_log_probs', 'optim', 'bf16', 'report_to', 'max_length']) t.match(r.stderr, new RegExp(`^note: ${key}: `, 'm'));
});

t.test('an alignment-handbook file runs where its meaning is clear', async (t) => {
  const common = `model_name_or_path: alignment-handbook/zephyr-7b-sft-full
torch_dtype: null
bf16: true
beta: 0.01
do_eval: true
evaluation_strategy: steps
eval_steps: 100
gradient_accumulation_steps: 2
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: False
hub_model_id: zephyr-7b-dpo-full
learning_rate: 5.0e-7
log_level: info
lr_scheduler_type: cosine
max_length: 1024
max_prompt_length: 512
num_train_epochs: 1
optim: adamw_torch
output_dir: data/zephyr-7b-dpo-full
per_device_train_batch_size: 8
per_device_eval_batch_size: 8
push_to_hub: true
save_strategy: "steps"
save_total_limit: 1
warmup_ratio: 0.1
`;
  const r = edpo('config', yaml(`${common}dataset_mixer:\n  HuggingFaceH4/ultrafeedback_binarized: 1.0\ndataset_splits:\n- train_prefs\n- test_prefs\npreprocessing_num_workers: 12\n`), '--for', 'train');
  t.equal(r.status, 0, r.stderr);
  t.match(resolved(r), { dataset_name: 'HuggingFaceH4/ultrafeedback_binarized', dataset_train_split: 'train_prefs', dataset_test_split: 'test_prefs', eval_strategy: 'steps', gradient_checkpointing: true, beta: 0.01, dataset_num_proc: 12 });
  for (const key of ['dataset_mixer', 'dataset_splits', 'evaluation_strategy', 'hub_model_id', 'push_to_hub', 'gradient_checkpointing_kwargs', 'per_device_eval_batch_size']) t.match(r.stderr, new RegExp(`^note: ${key}: `, 'm'));
  const newer = `${common}dataset_mixture:\n  datasets:\n    - id: a\n      config: default\n      split: train_prefs\n      columns:\n        - chosen\n        - rejected\n      weight: 0.5\n    - id: a\n      split: test_prefs\n  seed: 7\n`;
  refuses(t, edpo('config', yaml(newer), '--for', 'train'), /eval_strategy +is steps, but there are no evaluation data: .*\(in dataset_mixture: test_split_size\)/);
  const mixed = edpo('config', yaml(`${newer}  test_split_size: 2000\n`), '--for', 'train');
  t.equal(mixed.status, 0, mixed.stderr);
  const { dataset_mixture: mixture } = resolved(mixed);
  t.same(mixture, { datasets: [{ id: 'a', config: 'default', split: 'train_prefs', columns: ['chosen', 'rejected'], weight: 0.5 }, { id: 'a', split: 'test_prefs' }], seed: 7, test_split_size: 2000 });
  t.same(resolved(edpo('config', yaml(mixed.stdout))).dataset_mixture, mixture, 'what is printed is read again');
  const explained = edpo('config', '--explain', yaml(`${newer}  test_split_size: 0.1\n`), '--for', 'train');
  t.match(explained.stdout, /the form of the alignment handbook/);
  t.match(explained.stdout, /differs +dataset_mixture +.*: rows are drawn and shuffled by edpo’s generator/);
  t.match(explained.stdout, /0 refused/);
});

t.test('the official ε-DPO form runs as ε-DPO', async (t) => {
  const r = edpo('config', yaml(`model:
  pretrained_model_name_or_path: "mistralai/Mistral-7B-Instruct-v0.2"
dataset:
  name: "princeton-nlp/mistral-instruct-ultrafeedback"
  train_split: "train"
  eval_split: "test"
training_args:
  run_name: "mistral_instruct"
  output_dir: "experiments/mistral_instruct"
  bf16: True
  beta: 0.01
  epsilon: 0.01
  learning_rate: 3e-7
  save_steps: 0.2
  eval_strategy: "steps"
  eval_steps: 400
`), '--for', 'train');
  t.equal(r.status, 0, r.stderr);
  t.match(resolved(r), { loss_type: 'epsilon_dpo', model_name_or_path: 'mistralai/Mistral-7B-Instruct-v0.2', dataset_name: 'princeton-nlp/mistral-instruct-ultrafeedback', learning_rate: 3e-7, save_steps: 0.2, run_name: 'mistral_instruct' });
  t.match(r.stderr, /^note: loss_type: epsilon_dpo/m);
});

t.test('flags win over the file, in both spellings, with values that begin with a dash', async (t) => {
  const file = yaml('beta: 0.3\nlearning_rate: 1.0e-6\nmax_steps: 5\n');
  const r = edpo('config', file, '--beta', '0.05', '--learning-rate=5e-7', '--max-steps', '-1', '--gradient_checkpointing');
  t.equal(r.status, 0, r.stderr);
  t.match(resolved(r), { beta: 0.05, learning_rate: 5e-7, max_steps: -1, gradient_checkpointing: true });
  t.equal(resolved(edpo('config', '--config', file)).beta, 0.3);
  t.equal(edpo('config', '--beta', '0.05').status, 0, 'no file is needed');
});

t.test('what is printed loads again to the same', async (t) => {
  const first = edpo('config', join(root, 'configs/hh.yaml'));
  const again = edpo('config', yaml(first.stdout));
  t.equal(again.status, 0, again.stderr);
  t.equal(again.stdout, first.stdout);
  t.equal(again.stderr, '');
});

t.test('--explain and --schema', async (t) => {
  const r = edpo('config', '--explain', 'learning-rate');
  t.equal(r.status, 0);
  t.match(r.stdout, /^learning_rate: .+\ndefault: 0\.000001\nexpects: a number >= 0\nalso read as: lr\n.*edpo train/);
  t.match(edpo('config', '--explain', 'criterion').stdout, /values: exact, deadzone, bf16-trl/);
  refuses(t, edpo('config', '--explain', 'epsilonn'), /no key epsilonn\nhint: did you mean epsilon\?/);
  refuses(t, edpo('config', '--for', 'trian'), /no command trian/);
  const schema = JSON.parse(edpo('config', '--schema').stdout) as { properties: Record<string, unknown>; additionalProperties: boolean };
  t.same(Object.keys(schema.properties).sort(), [...KEYS].sort());
  t.equal(schema.additionalProperties, false);
});

t.test('the command line itself', async (t) => {
  refuses(t, edpo('trian'), /unknown command 'trian'\nhint: did you mean edpo train\?/);
  refuses(t, edpo('train', '--learningrate', '1'), /unknown option '--learningrate'\nhint: did you mean --learning_rate\?/);
  refuses(t, edpo('train', 'configs/hh.yaml'), /hint: --config configs\/hh\.yaml/);
  refuses(t, edpo('train', '--beta'), /option '--beta <number>' argument missing/);
  refuses(t, edpo('train', '--temperature', '1', '--model_name_or_path', 'm', '--data_files', 'd.jsonl', '--output_dir', 'o'), /temperature {2}is not used by edpo train \(but by generate, eval-winrate\)/);
  const bare = edpo();
  t.equal(bare.status, 2);
  t.match(bare.stderr, /Usage: edpo .*\n[^]*precompute-ref/);
  const version = edpo('--version');
  t.equal(version.status, 0);
  t.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
});

t.test('each command’s help lists its keys by group, with an example', async (t) => {
  for (const command of COMMANDS) {
    const r = edpo(command, '--help');
    t.equal(r.status, 0);
    t.match(r.stdout, new RegExp(`Example:\n {2}edpo ${command} `));
    const listed = [...r.stdout.matchAll(/^ {2}--([a-z0-9_]+) [<[]/gm)].map((m) => m[1]!).filter((k) => KEYS.includes(k as never));
    t.same(listed.sort(), KEYS.filter((k) => META[k]!.commands.includes(command)).sort(), `${command} lists exactly the keys it uses`);
    t.match(r.stdout, /\nModel:\n/);
  }
  for (const command of ['doctor', 'config']) t.match(edpo(command, '--help').stdout, /Example:\n {2}edpo /);
});

t.test('long data survive a slow reader of the pipe', async (t) => {
  // The process leaves by process.exit: more than a pipe holds must still arrive whole.
  const names = Array.from({ length: 20_000 }, (_, i) => `data/part-${i}.jsonl`);
  const file = yaml(`data_files: ${JSON.stringify(names)}\n`);
  const r = spawnSync('sh', ['-c', '"$0" "$1" config "$2" | (sleep 1; cat)', process.execPath, bin, file], { encoding: 'utf8', maxBuffer: 1 << 24 });
  t.same(resolved(r)['data_files'], names);
});

t.test('a checkout that is not built says so', async (t) => {
  cpSync(join(root, 'bin'), join(dir, 'unbuilt/bin'), { recursive: true });
  writeFileSync(join(dir, 'unbuilt/package.json'), '{"type": "module"}');
  const r = spawnSync(process.execPath, [join(dir, 'unbuilt/bin/edpo.js'), 'train'], { encoding: 'utf8' });
  refuses(t, r, /not built\nhint: npm ci/);
});
