import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ALIASES, IGNORED, SECTIONS, UNAVAILABLE } from '../../src/config/foreign.js';
import { REFUSED_VALUES, VALUE_ALIASES } from '../../src/config/foreign_values.js';
import { FORM_KEYS } from '../../src/config/forms.js';
import { COMMANDS, KEYS, META, type Command } from '../../src/config/keys.js';
import { loadConfig, resolvedYaml } from '../../src/config/load.js';
import { totalBatch } from '../../src/config/total_batch.js';
import { readYaml } from '../../src/config/yaml.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const load = (name: string, command: Command) => loadConfig({ file: join(root, 'configs', name), flags: {}, command });

t.test('configs/reference.yaml is what the schema says', async (t) => {
  const made = spawnSync(process.execPath, [join(root, 'scripts/make-reference-yaml.mjs'), '--print'], { encoding: 'utf8' });
  t.equal(made.status, 0, made.stderr);
  const text = readFileSync(join(root, 'configs/reference.yaml'), 'utf8');
  t.equal(text, made.stdout, 'node scripts/make-reference-yaml.mjs renews it');
  const listed = [...text.matchAll(/^(?:# )?([a-z0-9_]+):/gm)].map((m) => m[1]).filter((k) => KEYS.includes(k as never));
  t.same([...new Set(listed)].sort(), [...KEYS].sort(), 'every key is in it');
  t.same(loadConfig({ file: join(root, 'configs/reference.yaml'), flags: {}, command: 'config' }).config, loadConfig({ flags: {}, command: 'config' }).config, 'loading it gives the defaults');
});

t.test('every shipped file is a valid configuration without another trainer’s words, and so is what train writes of it', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'edpo-shipped-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  for (const name of readdirSync(join(root, 'configs')).filter((f) => f.endsWith('.yaml') && f !== 'reference.yaml')) {
    const command = name.includes('sft') ? 'sft' : 'train';
    const { config, notes } = load(name, command);
    t.same(notes, [], name);
    const written = join(dir, name);
    writeFileSync(written, resolvedYaml(config));
    // The hint after a failed run is: --config OUTPUT_DIR/config.yaml --resume.
    t.same(loadConfig({ file: written, flags: { resume_from_checkpoint: 'last' }, command }).config, { ...config, resume_from_checkpoint: 'last' }, name);
  }
});

/** Appendix B of arXiv 2502.13177 (Tables 3 and 4), what it leaves open from the official repository. */
const UNTOUCHED = { num_train_epochs: 1, total_batch_size: 128, lr_scheduler_type: 'cosine', warmup_ratio: 0.1, weight_decay: 0, optim: 'adamw_torch', adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, max_grad_norm: 1, seed: 42 };
const ULTRAFEEDBACK = { ...UNTOUCHED, loss_type: 'epsilon_dpo', beta: 0.01, epsilon: 0.01, max_length: 2048, max_prompt_length: 1800, save_steps: 0.2, eval_strategy: 'steps', eval_steps: 400, logging_steps: 1, dataset_train_split: 'train', dataset_test_split: 'test' };

t.test('the paper’s hyper-parameters', async (t) => {
  t.match(load('ultrafeedback-mistral.yaml', 'train').config, { ...ULTRAFEEDBACK, learning_rate: 3e-7 });
  t.match(load('ultrafeedback-llama3.yaml', 'train').config, { ...ULTRAFEEDBACK, learning_rate: 7e-7 });
  t.match(load('hh.yaml', 'train').config, { ...UNTOUCHED, loss_type: 'epsilon_dpo', beta: 0.1, epsilon: 0.01, learning_rate: 1e-6, dataset_format: 'hh', data_dir: ['helpful-base', 'harmless-base'] });
  t.match(load('hh-sft.yaml', 'sft').config, { ...UNTOUCHED, learning_rate: 2e-5, dataset_format: 'hh', data_dir: ['helpful-base', 'harmless-base'] });
  t.equal(totalBatch(load('hh.yaml', 'train').config), 128);
  t.equal(load('hh-sft.yaml', 'sft').config.output_dir!.split('/').at(-1), load('hh.yaml', 'train').config.model_name_or_path!.split('/').at(-1), 'hh.yaml starts where hh-sft.yaml ends');
});

t.test('every value of the paper’s files says where it comes from', async (t) => {
  for (const name of ['hh.yaml', 'hh-sft.yaml', 'ultrafeedback-mistral.yaml', 'ultrafeedback-llama3.yaml']) {
    const text = readFileSync(join(root, 'configs', name), 'utf8');
    const lines = text.split('\n');
    for (const { key, line } of readYaml(text, name, [])) {
      if (['loss_type', 'output_dir', 'dataset_format', 'run_name'].includes(key)) continue;
      t.match(lines[line - 1], /# (paper|code|SimPO|TRL|ours)/, `${name}: ${key}`);
    }
  }
});

t.test('tables are consistent', async (t) => {
  for (const key of KEYS) {
    t.ok(META[key]!.about.length > 3 && META[key]!.commands.length > 0, key);
    t.ok(META[key]!.commands.every((c) => COMMANDS.includes(c)));
  }
  for (const [from, to] of Object.entries(ALIASES)) {
    t.ok(KEYS.includes(to as never), `${from} stands for a key`);
    t.notOk(KEYS.includes(from as never), `${from} is no key itself`);
  }
  for (const section of Object.values(SECTIONS)) for (const to of Object.values(section)) t.ok(KEYS.includes(to as never) || to in IGNORED, to);
  for (const name of [...Object.keys(IGNORED), ...Object.keys(UNAVAILABLE), ...FORM_KEYS]) t.notOk(KEYS.includes(name as never) || name in ALIASES, `${name} has one meaning`);
  for (const name of Object.keys(UNAVAILABLE)) t.notOk(name in IGNORED, `${name} is either refused or ignored`);
  for (const name of [...Object.keys(VALUE_ALIASES), ...Object.keys(REFUSED_VALUES)]) t.ok(KEYS.includes(name as never), name);
});
