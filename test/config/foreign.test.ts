import t from 'tap';
import { totalBatch } from '../../src/config/total_batch.js';
import { load, problemsOf } from '../helpers/load_config.js';

t.test('dtype of a TRL file is the storage of weights', async (t) => {
  for (const text of ['dtype: bfloat16\n', 'torch_dtype: bfloat16\n']) {
    const { config, notes } = load(text);
    t.match(config, { dtype: 'float32', save_dtype: 'bfloat16' });
    t.match(notes.join('\n'), /bfloat16 is taken as save_dtype \(written weights\); arithmetic is float32/);
  }
  t.equal(load('dtype: bfloat16\n', { dtype: 'float16' }).config.save_dtype, 'float16', 'as a flag too');
  t.equal(load('dtype: auto\n').config.save_dtype, 'auto');
  t.same(problemsOf('torch_dtype: bfloat16\nsave_dtype: float32\n'), ['save_dtype given twice, line 1 and here; keep one line 2']);
  t.equal(load('dtype: mixed_f16\nsave_dtype: bfloat16\n').config.dtype, 'mixed_f16');
  t.match(problemsOf('dtype: float8\n')[0], /dtype.*float32.*mixed_f16/);
});

t.test('effects edpo does not have are refused, their absence is noted', async (t) => {
  t.match(problemsOf('use_dora: true\nload_in_4bit: true\nref_mode: adapter_off\nneftune_noise_alpha: 5\n'), [
    /^use_dora DoRA is not available.*line 1$/, /^load_in_4bit needs use_peft: true \(QLoRA\).*line 2$/, /^ref_mode adapter_off is for LoRA \(use_peft: true\).*line 3$/, /^neftune_noise_alpha noise on embeddings.*line 4$/,
  ]);
  t.match(problemsOf('loss_type: [sigmoid, ipo]\nloss_weights: [1]\n'), [/^loss_weights has 1 numbers for 2 losses/]);
  t.match(problemsOf('loss_type: simpo\nf_divergence_type: js_divergence\n'), [/^f_divergence_type js_divergence is defined for sigmoid, .*; not for simpo line 2$/]);
  t.match(problemsOf('loss_type: [sigmoid, simpoo]\n'), [/^loss_type expected one of .* or a list of those, got \["sigmoid","simpoo"\] \(list\); did you mean simpo\? line 1$/]);
  t.match(problemsOf('f_alpha_divergence_coef: 0.3\n'), [/belongs to f_divergence_type: alpha_divergence, got reverse_kl/]);
  t.same(load('', { loss_type: 'sigmoid,bco_pair,sft', loss_weights: '0.8,0.2,1' }).config.loss_weights, [0.8, 0.2, 1]);
  t.match(load('loss_type: simpo\nsft_weight: 0.5\n').config, { loss_type: 'simpo', rpo_alpha: 0.5 });
  const { notes } = load('use_dora: false\nf_divergence_type: reverse_kl\nreference_free: null\ndeepspeed: zero3.json\nbf16: true\n');
  t.same(notes.map((n) => n.split(':')[0]), ['use_dora', 'reference_free', 'deepspeed', 'bf16']);
});

t.test('LoRA: other trainers’ names, what needs use_peft, what excludes it', async (t) => {
  const { config, notes } = load('use_peft: true\nlora_rank: 8\nlora_target: all-linear\nlora_task_type: CAUSAL_LM\nlora_alpha: 16\nlora_dropout: 0.1\nuse_rslora: true\n');
  t.match(config, { use_peft: true, lora_r: 8, lora_alpha: 16, lora_target_modules: ['all-linear'], use_rslora: true });
  t.same(notes, ['lora_rank: read as lora_r', 'lora_target: read as lora_target_modules', 'lora_task_type: not used (adapters are those of a language model (CAUSAL_LM))', 'lora_dropout: not used (disable_dropout is true, as TRL’s DPO trainer has it too; --disable_dropout false)']);
  t.same(load('use_peft: true\nlora_dropout: 0.1\ndisable_dropout: false\n').notes, []);
  t.match(load('').config, { use_peft: false, lora_r: 16, lora_alpha: 32, lora_target_modules: undefined, use_rslora: false });
  t.same(load('lora_target_modules: [q_proj, v_proj]\nlora_r: 4\nlora_modules_to_save: [lm_head]\n').notes, ['lora_r, lora_target_modules, lora_modules_to_save: not used (only has an effect with use_peft)']);
  t.same(problemsOf('use_peft: true\nlora_r: 0\nlora_modules_to_save: [lm_head]\nsync_ref_model: true\nref_mode: live\n').map((p) => p.split(' ')[0]), ['lora_r', 'sync_ref_model']);
  t.match(problemsOf('use_peft: true\nref_mode: adapter_off\nref_model_name_or_path: m\n'), [/^ref_mode adapter_off takes the policy’s base as the reference/]);
  t.match(load('use_peft: true\nlora_modules_to_save: [lm_head]\n').config, { lora_modules_to_save: ['lm_head'] });
  t.match(problemsOf('use_peft: true\nref_mode: live\nsync_ref_model: true\n'), [/^sync_ref_model moves the reference’s weights, which adapters leave frozen/]);
  t.match(problemsOf('adapter: lora\n'), [/^adapter lora names no GPU.*LoRA is use_peft: true/]);
  t.match(problemsOf('model_name_or_path: m\n', {}, 'merge'), ['output_dir is required']);
});

t.test('the official ε-DPO form', async (t) => {
  const { config, notes } = load(`model:
  pretrained_model_name_or_path: "meta-llama/Meta-Llama-3-8B-Instruct"
dataset:
  name: "princeton-nlp/llama3-ultrafeedback"
  train_split: "train"
  eval_split: "test"
training_args:
  output_dir: "experiments/llama3_instruct"
  bf16: True
  beta: 0.01
  epsilon: 0.02
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 8
  learning_rate: 7e-7
  report_to: "wandb"
  do_eval: true
  eval_strategy: "steps"
  eval_steps: 400
  per_device_eval_batch_size: 2
`, {}, 'train');
  t.match(config, {
    model_name_or_path: 'meta-llama/Meta-Llama-3-8B-Instruct', dataset_name: 'princeton-nlp/llama3-ultrafeedback', dataset_train_split: 'train', dataset_test_split: 'test',
    loss_type: 'epsilon_dpo', beta: 0.01, epsilon: 0.02, learning_rate: 7e-7, eval_strategy: 'steps', eval_steps: 400,
  });
  t.equal(totalBatch(config), 8);
  for (const key of ['loss_type', 'training_args.bf16', 'training_args.report_to', 'training_args.do_eval', 'training_args.per_device_eval_batch_size', 'model.pretrained_model_name_or_path']) {
    t.ok(notes.some((n) => n.startsWith(`${key}: `)), `${key} is noted`);
  }
  t.equal(load('training_args:\n  epsilon: 0.02\nloss_type: epsilon_dpo\n').notes.filter((n) => n.startsWith('loss_type')).length, 0, 'a loss that is given is left alone');
});

t.test('dataset forms: used where clear, refused with the reason where not', async (t) => {
  t.match(load('dataset_mixer:\n  HuggingFaceH4/ultrafeedback_binarized: 1.0\ndataset_splits:\n- train_prefs\n- test_prefs\n').config, {
    dataset_name: 'HuggingFaceH4/ultrafeedback_binarized', dataset_train_split: 'train_prefs', dataset_test_split: 'test_prefs',
  });
  t.match(load('datasets:\n  - path: my/data\n    split: train\n    data_files: [a.jsonl]\n').config, { dataset_name: 'my/data', dataset_train_split: 'train', data_files: ['a.jsonl'] });
  t.match(load('dataset_mixture:\n  datasets:\n    - id: my/data\n      config: default\n      split: train_prefs\n      columns: [chosen, rejected]\n      weight: 1.0\n').config, { dataset_mixture: { datasets: [{ id: 'my/data', split: 'train_prefs', columns: ['chosen', 'rejected'] }] } });
  // The older form takes the first rows, and every evaluation split whole.
  t.same(load('dataset_mixer: {a: 1.0, b: 0.5}\ndataset_splits: [train_prefs, test_prefs]\ndataset_configs: [default, small]\n').config.dataset_mixture, {
    datasets: [{ id: 'a', config: 'default', split: 'train_prefs', weight: 1 }, { id: 'b', config: 'small', split: 'train_prefs', weight: 0.5 }], seed: 42, take: 'first',
    test_datasets: [{ id: 'a', config: 'default', split: 'test_prefs' }, { id: 'b', config: 'small', split: 'test_prefs' }],
  });
  t.same(load('dataset_mixer: {a.jsonl: 0.5}\n').config.dataset_mixture, { datasets: [{ id: 'a.jsonl', split: 'train', weight: 0.5 }], seed: 42, take: 'first' }, 'a file has no test split');
  t.same(load('datasets:\n  - {path: a, name: small, columns: [chosen, rejected]}\n  - {path: b}\ntest_split_size: 0.1\n').config.dataset_mixture, { datasets: [{ id: 'a', config: 'small', columns: ['chosen', 'rejected'] }, { id: 'b' }], test_split_size: 0.1 });
  t.match(problemsOf('dataset_mixer: {a: 1.5}\n'), [/expected a share of its rows from 0 to 1 for a, got 1.5/]);
  t.match(problemsOf('dataset_mixer: {a: 1, b: 1}\ndataset_configs: [x]\n'), [/^dataset_configs expected one name for each of the 2 sets/]);
  t.match(problemsOf('dataset_mixture:\n  datasets:\n    - {id: a, weight: 2, colums: [x]}\n  test_split_size: 1.5\n'), [/weight expected a number in \(0, 1\], got 2/, /colums/, /test_split_size/]);
  t.match(problemsOf('dataset_mixture: {datasets: [{id: a}]}\ndataset_name: b\n'), [/dataset_name names data, too; give one of the two/]);
  t.match(problemsOf('dataset_mixture: {datasets: [{id: a}], test_split_size: 3, test_datasets: [{id: b}]}\n'), [/test_split_size and test_datasets both say what is evaluated on/]);
  const flagged = load('dataset_mixture: {datasets: [{id: a}]}\n', { dataset_name: 'b' });
  t.match(flagged.config, { dataset_name: 'b', dataset_mixture: undefined });
  t.match(flagged.notes.join('\n'), /dataset_mixture: not used \(--dataset_name names other data\)/);
  t.match(problemsOf('dataset_splits: [prefs, test]\n'), [/does not say which of prefs, test is for training/]);
  t.match(problemsOf('datasets:\n  - path: a\n    type: chatml\n'), [/its type cannot be followed/]);
});
