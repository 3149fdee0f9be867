import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { explainFile } from '../../src/config/explain.js';
import { loadConfig, resolvedYaml } from '../../src/config/load.js';
import { totalBatch } from '../../src/config/total_batch.js';
import { dir, load, problemsOf } from '../helpers/load_config.js';

t.test('TRL’s defaults hold for TRL’s keys', async (t) => {
  const { config, notes } = loadConfig({ flags: {}, command: 'config' });
  t.match(config, {
    loss_type: 'sigmoid', beta: 0.1, label_smoothing: 0, learning_rate: 1e-6, lr_scheduler_type: 'linear', num_train_epochs: 3, max_steps: -1, per_device_train_batch_size: 8, gradient_accumulation_steps: 1,
    max_length: 1024, warmup_ratio: 0, optim: 'adamw_torch', adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, weight_decay: 0, max_grad_norm: 1, logging_steps: 10, eval_strategy: 'no', save_strategy: 'steps', save_steps: 500, seed: 42,
  });
  t.match(config, { epsilon: 0.01, criterion: 'exact', beta_update: 'harmonic', beta_min: 0, ref_mode: 'cache', tokenization: 'edpo', truncation_mode: 'drop', token_budget: 2048, max_new_tokens: 1024 });
  t.same(notes, []);
  t.ok(Object.isFrozen(config));
});

t.test('default < YAML < flag', async (t) => {
  const { config } = load('beta: 0.3\nseed: 7\n', { beta: '0.05', shuffle: 'false', data_files: 'a.jsonl,b.jsonl', run_name: '12' });
  t.match(config, { beta: 0.05, seed: 7, epsilon: 0.01, shuffle: false, data_files: ['a.jsonl', 'b.jsonl'], run_name: '12' });
});

t.test('a flag mends a bad value of the file', async (t) => {
  t.equal(load('beta: oops\n', { beta: '0.05' }).config.beta, 0.05);
  t.equal(load('truncation_mode: keep_end\n', { truncation_mode: 'keep_start' }).config.truncation_mode, 'keep_start');
});

t.test('unknown keys name the nearest', async (t) => {
  t.same(problemsOf('learning_rat: 1.0e-6\n'), ['learning_rat unknown key; did you mean learning_rate? line 1']);
  t.same(problemsOf('training_args:\n  epsiloon: 0.01\n'), ['training_args.epsiloon unknown key; did you mean epsilon? line 2']);
  t.same(problemsOf('\nzzzzzzzzz: 1\n'), ['zzzzzzzzz unknown key line 2']);
  t.same(problemsOf('', { bta: '0.1' }), ['bta unknown key; did you mean beta? --bta']);
});

t.test('words that every object inherits are neither keys nor values', async (t) => {
  for (const word of ['constructor', 'toString', 'hasOwnProperty', 'valueOf', '__proto__']) {
    t.match(problemsOf(`${word}: 1\n`), [new RegExp(`^${word} unknown key`)]);
    t.match(problemsOf(`model:\n  ${word}: 1\n`), [new RegExp(`^model\\.${word} unknown key`)]);
    t.match(problemsOf(`optim: ${word}\n`), [new RegExp(`^optim expected one of .*, got "${word}"`)]);
  }
  const path = join(dir, 'inherited.yaml');
  writeFileSync(path, 'toString: 1\n');
  t.match(explainFile(path, 'config'), { runs: false, keys: [{ key: 'toString', fate: 'refused', why: /^unknown key/ }] });
  t.same(loadConfig({ flags: {}, env: { EDPO_CONSTRUCTOR: '1' }, command: 'config' }).notes, []);
});

t.test('types and ranges', async (t) => {
  t.same(problemsOf('learning_rate: "5e-7x"\n'), ['learning_rate expected a number >= 0, got "5e-7x" (string) line 1']);
  t.same(problemsOf('epsilon: 1\n', { loss_type: 'epsilon_dpo' }), ['epsilon expected a number in (0, 1), got 1 line 1']);
  t.same(problemsOf('label_smoothing: 0.5\n'), ['label_smoothing expected a number in [0, 0.5), got 0.5 line 1']);
  t.same(problemsOf('max_length: 1.5\n'), ['max_length expected a whole number >= 0, got 1.5 line 1']);
  t.same(problemsOf('beta: .inf\n'), ['beta expected a number > 0, got Infinity line 1']);
  t.same(problemsOf('lr_scheduler_type: cosin\n'), ['lr_scheduler_type expected one of linear, cosine, constant, constant_with_warmup, cosine_with_min_lr, got "cosin" (string); did you mean cosine? line 1']);
  t.same(problemsOf('shuffle: "yes"\n'), ['shuffle expected true or false, got "yes" (string) line 1']);
  t.same(problemsOf('run_name: [a]\n'), ['run_name expected text, got ["a"] (list) line 1']);
  t.same(problemsOf('save_steps: 1.5\n'), ['save_steps expected a whole number of steps or a share in (0, 1), got 1.5 line 1']);
  t.same(problemsOf('lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 2}\n'), ['lr_scheduler_kwargs.min_lr_rate expected a number in [0, 1], got 2 line 2']);
  t.same(problemsOf('lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lrr: 2}\n'), ['lr_scheduler_kwargs min_lrr: unknown key; expected a mapping with num_cycles, min_lr, min_lr_rate line 2']);
  t.same(problemsOf('', { beta: '-1' }), ['beta expected a number > 0, got -1 --beta']);
  t.same(problemsOf('', { shard: '3' }), ['shard expected i/n, got "3" (string) --shard']);
});

t.test('shares of all steps are allowed where steps are', async (t) => {
  t.match(load('save_steps: 0.2\neval_steps: 0.5\nlogging_steps: 0.01\neval_strategy: steps\n').config, { save_steps: 0.2, eval_steps: 0.5, logging_steps: 0.01 });
});

t.test('all problems at once, in the order of the lines, contradictions included', async (t) => {
  const found = problemsOf('beta: -1\nlearning_rat: 1\ntotal_batch_size: 100\nper_device_train_batch_size: 16\nuse_dora: true\nseed: x\n', { epsilon: '2' });
  t.same(found.map((p) => p.split(' ')[0]), ['beta', 'learning_rat', 'total_batch_size', 'use_dora', 'seed', 'epsilon']);
});

t.test('nothing changes silently', async (t) => {
  t.match(load('learning_rate: "5e-7"\n'), { config: { learning_rate: 5e-7 }, notes: ['learning_rate: the text "5e-7" is read as the number 5e-7'] });
  t.match(load('max_length: null\n'), { config: { max_length: 0 }, notes: ['max_length: null is read as no limit (0)'] });
  t.match(load('save_total_limit: null\n'), { config: { save_total_limit: 0 }, notes: ['save_total_limit: null is read as the default, 0'] });
  t.match(load('optim: adamw_torch_fused\n'), { config: { optim: 'adamw_torch' }, notes: ['optim: adamw_torch_fused is read as adamw_torch (the same algorithm)'] });
  t.match(load('lr: 2.0e-6\n'), { config: { learning_rate: 2e-6 }, notes: ['lr: read as learning_rate'] });
  t.match(load('max_steps: 10\nnum_train_epochs: 2\n').notes, ['num_train_epochs: not used (max_steps 10 wins, as in transformers)']);
  t.match(load('warmup_steps: 10\nwarmup_ratio: 0.1\n').notes, ['warmup_ratio: not used (warmup_steps 10 wins, as in transformers)']);
  t.match(load('overwrite_output_dir: true\n', { resume_from_checkpoint: 'last' }).notes, ['overwrite_output_dir: not used (resume_from_checkpoint continues the run that is there)']);
  for (const [text, n] of [['dataset_num_proc: 12\npreprocessing_num_workers: 12\n', 12], ['preprocessing_num_workers: 4\ndataset_num_proc: 12\n', 12]] as const) {
    t.match(load(text), { config: { dataset_num_proc: n }, notes: ['preprocessing_num_workers: not used (dataset_num_proc stands beside it; the result is the same)'] }, 'a setting that changes no result may come under two names');
  }
  t.match(load('preprocessing_num_workers: 4\n'), { config: { dataset_num_proc: 4 }, notes: ['preprocessing_num_workers: read as dataset_num_proc'] });
  t.same(problemsOf('lr: 1.0e-6\nlearning_rate: 1.0e-6\n'), ['learning_rate given twice, line 1 and here; keep one line 2']);
});

t.test('a resolved configuration loads again as the same run', async (t) => {
  const texts = [
    'beta: 0.2\n', 'total_batch_size: 128\n', 'per_device_train_batch_size: 4\ngradient_accumulation_steps: 4\n', 'max_length: 256\n', 'loss_type: epsilon_dpo\nepsilon: 0.02\ncriterion: deadzone\ncriterion_deadzone: 1.0e-4\n',
    'lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 0.1}\n', 'eval_strategy: "no"\nsave_steps: 0.2\nresume_from_checkpoint: last\ndata_files: [a, b]\n',
  ];
  for (const text of texts) {
    const { config } = load(text);
    const again = load(resolvedYaml(config));
    t.same(again.config, config, text);
    t.equal(totalBatch(again.config), totalBatch(config));
    t.same(again.notes, []);
  }
});

t.test('files that are no configuration', async (t) => {
  t.throws(() => loadConfig({ file: join(dir, 'none.yaml'), flags: {}, command: 'config' }), { exitCode: 2, message: /cannot read the configuration .*none.yaml: ENOENT/ });
  const path = join(dir, 'latin1.yaml');
  writeFileSync(path, Buffer.from([0x72, 0x75, 0x6e, 0x5f, 0x6e, 0x61, 0x6d, 0x65, 0x3a, 0x20, 0xe9, 0x0a]));
  t.throws(() => loadConfig({ file: path, flags: {}, command: 'config' }), { exitCode: 2, message: /not UTF-8/ });
});
