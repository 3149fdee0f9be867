import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { COMMANDS, KEYS, META } from '../../src/config/keys.js';
import { choicesOf } from '../../src/config/expect.js';
import { edpo, type CliResult } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-shell-'));
t.teardown(() => rmSync(dir, { recursive: true }));
t.setTimeout(600_000);
const model = resolve('examples/quickstart/model');
const data = resolve('examples/quickstart/data/train.jsonl');
/** A clean environment: no EDPO_ variable of the one who tests. */
const clean = Object.fromEntries(Object.keys(process.env).filter((k) => k.startsWith('EDPO_') || k === 'FORCE_COLOR' || k === 'NO_COLOR').map((k) => [k, '']));
const run = (args: string[], env: Record<string, string> = {}): CliResult => edpo(args, { env: { ...clean, ...env } });
const yaml = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};

t.test('bash completion, sourced: commands, keys of the command, values, files', async (t) => {
  const script = run(['completion', 'bash']);
  t.equal(script.code, 0, script.err);
  const file = yaml('edpo.bash', script.out);
  mkdirSync(join(dir, 'files'));
  writeFileSync(join(dir, 'files/a b.yaml'), '');
  const cases: string[][] = [
    ['tr'], ['train', '--learning'], ['train', '--loss_type', ''], ['train', '--loss-type', 'eps'], ['train', '--lr_scheduler_type', '=', 'cos'], ['train', '--criterion', '='], ['train', '--shuffle', ''],
    ['train', '--beta', ''], ['train', '--temp'], ['generate', '--temp'], ['train', '--config', 'files/'], ['config', '--explain', 'epsilon_'], ['config', '--for', 'eval'], ['config', '--temp'], ['completion', ''], ['plan', '--js'], ['train', '--resume', '--qu'],
  ];
  const program = [`source '${file}'`, ...cases.map((words) => `COMP_WORDS=(edpo ${words.map((w) => `'${w}'`).join(' ')}); COMP_CWORD=${words.length}; _edpo; printf '%s|' "\${COMPREPLY[@]}"; echo`)].join('\n');
  const r = spawnSync('bash', ['--norc', '-c', program], { encoding: 'utf8', cwd: dir });
  t.equal(r.stderr, '');
  const replies = r.stdout.trim().split('\n').map((l) => l.split('|').filter((w) => w !== ''));
  t.same(replies, [
    ['train'], ['--learning_rate'], choicesOf('loss_type'), ['epsilon_dpo'], ['cosine', 'cosine_with_min_lr'], choicesOf('criterion'), ['true', 'false'],
    [], [], ['--temperature'], ['files/a', 'b.yaml'], ['epsilon_check', 'epsilon_size'], ['eval', 'eval-winrate'], ['--temperature'], ['bash', 'zsh', 'fish'], ['--json'], ['--quiet'],
  ].map((x) => x as string[]));
  t.match(spawnSync('bash', ['--norc', '-c', `source '${file}'; complete -p edpo`], { encoding: 'utf8' }).stdout, /complete -F _edpo edpo/);
});

t.test('zsh and fish scripts name every command, key and choice', async (t) => {
  for (const shell of ['zsh', 'fish']) {
    const { out, code } = run(['completion', shell]);
    t.equal(code, 0);
    for (const c of [...COMMANDS, 'doctor', 'config', 'completion']) t.match(out, shell === 'fish' ? ` -a ${c} -d ` : `    ${c})\n`, `${shell}: ${c}`);
    for (const k of KEYS) t.ok(out.includes(shell === 'fish' ? ` -l ${k} ` : `'--${k}:`), `${shell}: ${k}`);
    t.match(out, shell === 'fish' ? "-l criterion -d '" : "--criterion) compadd -- 'exact' 'deadzone' 'bf16-trl'; return;;");
    // Where the shell itself is here, it must read the script.
    const syntax = spawnSync(shell, ['-n'], { input: out, encoding: 'utf8' });
    if (!syntax.error) t.equal(syntax.status, 0, syntax.stderr);
  }
  const bad = run(['completion', 'csh']);
  t.equal(bad.code, 2);
  t.match(bad.err, /csh/);
});

t.test('EDPO_KEY gives a default: a file and flags win, a bad one is an error, a slip is said', async (t) => {
  const file = yaml('a.yaml', 'beta: 0.2\n');
  const env = { EDPO_OUTPUT_DIR: 'runs/env', EDPO_BETA: '0.7', EDPO_SEED: '7', EDPO_SHUFFLE: 'false', EDPO_TABLE_SPLIT: '16384', EDPO_PRODUCTS: 'patches', EDPO_LOG: 'silent' };
  const r = run(['config', file, '--seed', '9', '--json'], env);
  t.equal(r.code, 0, r.err);
  const { config, sources, notes } = JSON.parse(r.out);
  t.match(config, { output_dir: 'runs/env', beta: 0.2, seed: 9, shuffle: false });
  t.match(sources, { output_dir: 'EDPO_OUTPUT_DIR', shuffle: 'EDPO_SHUFFLE', beta: 'line 1', seed: '--seed', epsilon: 'default' });
  t.same(notes, ['output_dir: "runs/env" (default from EDPO_OUTPUT_DIR)', 'shuffle: false (default from EDPO_SHUFFLE)']);
  t.match(run(['config', file], env).err, /^note: output_dir: "runs\/env" \(default from EDPO_OUTPUT_DIR\)$/m);

  const bad = run(['config'], { EDPO_BETA: 'x' });
  t.equal(bad.code, 2);
  t.match(bad.err, /beta {2}expected a number > 0, got "x" \(string\) {3}EDPO_BETA/);
  t.equal(run(['config', file], { EDPO_BETA: 'x' }).code, 0, 'overruled by the file');
  t.match(run(['config'], { EDPO_LEARNIG_RATE: '1' }).err, /note: EDPO_LEARNIG_RATE: not used \(no key; did you mean EDPO_LEARNING_RATE\?\)/);
  t.match(JSON.parse(run(['config', '--json'], { EDPO_LOGGING_STEPS: '3' }).out), { config: { logging_steps: 3 } }, 'a key that begins like a switch (EDPO_LOG)');
  t.equal(run(['config'], { EDPO_OUTPUT_DIR: '' }).err, '', 'empty is unset');
  t.equal(run(['generate', '--model_name_or_path', model], { EDPO_OUTPUT_DIR: 'x' }).err.includes('output_dir  is not used'), false, 'a default may belong to another command');
  t.match(run(['config', '--for', 'inspect'], { EDPO_MODEL_NAME_OR_PATH: model, EDPO_DATASET_NAME: data }).code, 0);
  const inspected = run(['inspect', '--quiet', '--max_train_samples', '1'], { EDPO_MODEL_NAME_OR_PATH: model, EDPO_DATASET_NAME: data });
  t.equal(inspected.code, 0, inspected.err);
});

t.test('--json and text on every listing', async (t) => {
  const common = ['--model_name_or_path', model, '--dataset_name', data, '--max_train_samples', '2'];
  const text = run(['inspect', ...common]);
  t.match(text.out, /^row 0\n {2}prompt +\d+ tokens {2}\|.*\|\n {2}chosen +\d+ tokens {2}\|.*\| {2}scored\n {2}rejected /);
  const rows = run(['inspect', ...common, '--json']).out.trim().split('\n').map((l) => JSON.parse(l));
  t.equal(rows.length, 3);
  t.match(rows[2], { audit: { documents: 2, lengths: { prompt: { max: Number } } } });
  t.match(rows[0], { id: 0, scored: 'chosen and rejected' });
  const plan = run(['plan', ...common]);
  t.match(plan.out, /^model: .* parameters\nsteps: /);
  t.match(plan.out, /GPU memory in all/);
  const json = run(['plan', ...common, '--json']);
  t.match(JSON.parse(json.out), { documents: 2, steps: Number, memory_bytes: Number });
  t.equal(json.out.trim().split('\n').length, 1);
  const doctor = run(['doctor', '--json'], { EDPO_ADAPTER: 'swiftshader' });
  t.match(JSON.parse(doctor.out), { kind: 'embedded', without: [], checks: [{ ok: true }] });
  t.match(run(['doctor'], { EDPO_ADAPTER: 'swiftshader', EDPO_WITHOUT: 'replay,by_fours' }).out, /^without +replay, by_fours /m, 'paths that are off');
  t.match(run(['doctor'], { EDPO_ADAPTER: 'swiftshader', EDPO_WITHOUT: 'reply' }), { code: 2, err: /EDPO_WITHOUT names reply; expected some of / });
  t.match(JSON.parse(run(['config', '--explain', 'criterion', '--json']).out), { key: 'criterion', default: 'exact', values: ['exact', 'deadzone', 'bf16-trl'] });
});

t.test('--quiet, --verbose, NO_COLOR', async (t) => {
  const common = ['inspect', '--model_name_or_path', model, '--dataset_name', data, '--max_train_samples', '1'];
  t.match(run(common).err, /rows kept/);
  const quiet = run([...common, '-q']);
  t.equal(quiet.err, '');
  t.equal(quiet.out, run(common).out);
  const refused = run(['inspect', '--quiet', '--model_name_or_path', join(dir, 'none'), '--dataset_name', data]);
  t.equal(refused.code, 2);
  t.match(refused.err, /^edpo: model folder .* does not exist\nhint: /, 'errors stay');
  t.equal(run(['--quiet', ...common]).err, '', 'before the command, too');
  const hub = { HF_ENDPOINT: 'http://127.0.0.1:9', HF_HUB_CACHE: join(dir, 'hub'), HF_TOKEN: '' };
  t.match(run(['inspect', '--verbose', '--model_name_or_path', 'org/m', '--dataset_name', data], hub).err, /"msg":"hub request"/);
  t.notMatch(refused.err, '\x1b[');
  const missing = ['config', '--beta', '-1'];
  t.match(run(missing, { FORCE_COLOR: '1' }).err, /^\x1b\[1;31medpo:\x1b\[0m /);
  t.notMatch(run(missing, { FORCE_COLOR: '1', NO_COLOR: '1' }).err, '\x1b[');
  t.notMatch(run(missing).err, '\x1b[', 'a pipe is no terminal');
});

t.test('help has examples that parse and the environment', async (t) => {
  for (const command of [...COMMANDS, 'doctor', 'config', 'completion']) {
    const { out } = run([command, '--help']);
    const lines = /Example:\n((?: {2}.*\n?)+)/.exec(out)![1]!.trim().split('\n').map((l) => l.trim());
    t.ok(lines.length >= 2, `${command}: ${lines.length} examples`);
    for (const option of lines.flatMap((l) => l.match(/--[a-z_]+/g) ?? [])) t.ok(out.includes(`${option} `) || KEYS.includes(option.slice(2) as never), `${command} knows ${option}`);
  }
  t.match(run(['train', '--help']).out, /Environment: EDPO_KEY gives a key’s default/);
});

const explained = (file: string, ...more: string[]): { form: string; runs: boolean; keys: Array<{ key: string; line: number; fate: string; why?: string; as?: unknown; value: unknown }>; unsaid: Array<{ key: string }> } => {
  const r = run(['config', '--explain', file, '--json', ...more]);
  if (r.code !== 0) throw new Error(r.err);
  return JSON.parse(r.out) as ReturnType<typeof explained>;
};
const fates = (e: ReturnType<typeof explained>): Record<string, string> => Object.fromEntries(e.keys.map((k) => [k.key, k.fate]));

t.test('config --explain of a TRL file', async (t) => {
  const file = yaml('trl.yaml', 'model_name_or_path: Qwen/Qwen2-0.5B-Instruct\ndtype: bfloat16\ndataset_name: trl-lib/ultrafeedback_binarized\nlearning_rate: 5.0e-7\nper_device_train_batch_size: 2\nmax_length: 1024\noptim: adamw_torch_fused\nbf16: true\ntf32: false\nhub_token: hf_secretsecret\nreport_to: none\nseed: 1\nmax_steps: 5\nnum_train_epochs: 1\n');
  const e = explained(file);
  t.equal(e.form, 'TRL');
  t.equal(e.runs, true);
  t.same(fates(e), {
    model_name_or_path: 'used', dtype: 'differs', dataset_name: 'used', learning_rate: 'used', per_device_train_batch_size: 'differs', max_length: 'differs', optim: 'used', bf16: 'differs', tf32: 'ignored', hub_token: 'ignored',
    report_to: 'used', seed: 'differs', max_steps: 'used', num_train_epochs: 'ignored',
  });
  t.same(e.keys.map((k) => k.line), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  t.match(e.keys[1], { as: { save_dtype: 'bfloat16' }, why: /arithmetic is float32/ });
  t.match(e.keys[13], { why: /max_steps 5 wins/ });
  const text = run(['config', '--explain', file]);
  t.match(text.out, /: the form of TRL\n {3}1 {2}used {5}model_name_or_path/);
  t.match(text.out, /\n6 used, 5 differ, 3 ignored, 0 refused\n$/);
  t.notMatch(text.out + JSON.stringify(e), 'hf_secretsecret');
  for (const k of e.keys.filter((k) => k.fate !== 'used')) t.ok(k.why, `${k.key} says why`);
  t.equal(run(['config', file]).code, 0, 'and it runs, as said');
});

t.test('config --explain of an alignment-handbook, a SimPO and an official ε-DPO file', async (t) => {
  const handbook = 'model_name_or_path: a/b\nuse_flash_attention_2: true\ndataset_mixer:\n  HuggingFaceH4/ultrafeedback_binarized: 1.0\ndataset_splits: [train_prefs, test_prefs]\npreprocessing_num_workers: 12\nevaluation_strategy: steps\ndo_eval: true\n';
  const ah = explained(yaml('ah.yaml', `${handbook}beta: 0.01\n`));
  t.equal(ah.form, 'the alignment handbook');
  t.equal(ah.runs, true);
  t.match(fates(ah), { dataset_mixer: 'used', dataset_splits: 'used', preprocessing_num_workers: 'used', evaluation_strategy: 'differs', do_eval: 'ignored' });
  t.match(ah.keys[3], { as: { dataset_train_split: 'train_prefs', dataset_test_split: 'test_prefs' }, line: 5 });

  const file = yaml('simpo.yaml', `${handbook}beta: 2.0\ngamma_beta_ratio: 0.5\n`);
  const simpo = explained(file);
  t.equal(simpo.form, 'SimPO');
  t.equal(simpo.runs, true);
  t.equal(fates(simpo)['gamma_beta_ratio'], 'used');
  const printed = run(['config', file]);
  t.match(printed.out, /loss_type: simpo\n/);
  t.match(printed.out, /simpo_gamma: 1\n/, 'γ = 0.5 · β');
  t.match(run(['config', file, '--beta', '10']).out, /simpo_gamma: 5\n/, 'the ratio is of the β that trains');
  t.match(run(['config', yaml('simpo2.yaml', 'loss_type: sigmoid\ngamma_beta_ratio: 0.25\n')]).out, /simpo_gamma: 0.5\n/, 'and of SimPO’s default β 2');
  t.match(run(['config', yaml('simpo3.yaml', 'loss_type: hinge\ngamma_beta_ratio: 0.25\n')]).err, /with gamma_beta_ratio: expected sigmoid/);
  t.match(run(['config', yaml('simpo4.yaml', 'simpo_gamma: 1\nbeta: 2\ngamma_beta_ratio: 0.25\n')]).err, /simpo_gamma {2}given twice/);
  t.match(run(['config', yaml('simpo5.yaml', 'gamma_beta_ratio: much\n')]).err, /gamma_beta_ratio {2}expected a number >= 0, got "much"/);

  const official = explained(yaml('e-dpo.yaml', 'model:\n  pretrained_model_name_or_path: "m"\ndataset:\n  name: "d"\n  train_split: "train"\ntraining_args:\n  bf16: True\n  beta: 0.01\n  epsilon: 0.01\n  learning_rate: 3e-7\n'));
  t.equal(official.form, 'the official ε-DPO code');
  t.match(fates(official), { 'model.pretrained_model_name_or_path': 'used', 'dataset.name': 'used', 'training_args.epsilon': 'differs', 'training_args.bf16': 'differs' });
  t.ok(official.unsaid.some((u) => u.key === 'tokenization'));
});

t.test('config --explain says what is refused, and edpo’s own files are used as they are', async (t) => {
  const e = explained(yaml('bad.yaml', 'learning_rat: 1\nlr_scheduler_type: cosin\nuse_dora: true\ncriterion: deadzone\n'));
  t.equal(e.runs, false);
  t.match(e.keys.map((k) => k.why), [/did you mean learning_rate\?/, /did you mean cosine\?/, /not available/, /deadzone/]);
  t.ok(e.keys.every((k) => k.fate === 'refused'));
  const own = explained(resolve('configs/hh.yaml'), '--for', 'train');
  t.match(own, { form: 'edpo', runs: true, unsaid: [] });
  t.ok(own.keys.every((k) => k.fate === 'used' && k.as === undefined));
  const missing = run(['config', '--explain', join(dir, 'none.yaml')]);
  t.equal(missing.code, 2);
  t.match(missing.err, /cannot read the configuration/);
  t.match(run(['config', '--explain', 'torch_dtype']).out, /^torch_dtype: read as dtype\n$/);
  t.match(run(['config', '--explain', 'bf16']).out, /^bf16: not used \(/);
  t.ok(META['offline'], 'offline is a key');
});
