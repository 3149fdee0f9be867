import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Purpose } from '../../src/config/contradictions_types.js';
import { loadConfig, resolvedYaml } from '../../src/config/load.js';
import { totalBatch } from '../../src/config/total_batch.js';
import { InputErrors } from '../../src/errors.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-config-'));
t.teardown(() => rmSync(dir, { recursive: true }));
let files = 0;
const yaml = (text: string): string => {
  const path = join(dir, `${files++}.yaml`);
  writeFileSync(path, text);
  return path;
};
const load = (text: string, flags: Record<string, string> = {}, command: Purpose = 'config') => loadConfig({ file: yaml(text), flags, command });
const problemsOf = (text: string, flags: Record<string, string> = {}, command: Purpose = 'config'): string[] => {
  try {
    load(text, flags, command);
    return [];
  } catch (error) {
    if (!(error instanceof InputErrors)) throw error;
    return error.problems.map((p) => p.replace(/ {2,}/g, ' '));
  }
};

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

t.test('contradictions', async (t) => {
  const cases: Array<[string, RegExp]> = [
    ['total_batch_size: 100\nper_device_train_batch_size: 16\n', /^total_batch_size is 100, but per_device_train_batch_size × gradient_accumulation_steps is 16; give one of the two line 1$/],
    ['loss_type: beta_dpo\ntotal_batch_size: 1\n', /^total_batch_size beta_dpo has nothing to compare in a group of 1; it needs 2 at least \(group_size, total_batch_size\) line 2$/],
    ['loss_type: aot\ngroup_size: 1\n', /^group_size aot has nothing to compare in a group of 1/],
    ['loss_type: aot\ngroup_size: 9\n', /^group_size is 9, and an optimiser step has 8 documents; a group lies within a step line 2$/],
    ['loss_type: [kto, sigmoid]\n', /^loss_type kto is of single responses, so it cannot be part of a mixture/],
    ['loss_type: [aot, sigmoid]\n', /^loss_type aot has statistics over a group, so it cannot/],
    ['loss_type: orpo\nrpo_alpha: 1\n', /^rpo_alpha orpo has an NLL term of its own line 2$/],
    ['loss_type: kto\nrpo_alpha: 1\n', /^rpo_alpha is the weight of the chosen response’s likelihood, and kto has single responses/],
    ['loss_type: sigmoid\ndesirable_weight: 2\n', /^desirable_weight belongs to loss_type kto, got loss_type: sigmoid line 2$/],
    ['loss_type: epsilon_dpo\ncriterion: deadzone\n', /^criterion criterion: deadzone needs criterion_deadzone > 0 \(nats\), got 0 line 2$/],
    ['loss_type: epsilon_dpo\ncriterion_deadzone: 0.001\n', /only with criterion: deadzone, got criterion: exact line 2$/],
    ['epsilon: 0.02\n', /^epsilon belongs to loss_type: epsilon_dpo; loss_type was not given and is sigmoid by default line 1$/],
    ['loss_type: epsilon_dpo\nbeta: 0.01\nbeta_min: 0.1\n', /^beta_min beta_min 0.1 is above beta 0.01 line 3$/],
    ['max_length: 512\nmax_prompt_length: 512\n', /leaves no room for a response within max_length 512 line 2$/],
    ['load_best_model_at_end: true\n', /needs evaluations: set eval_strategy/],
    ['load_best_model_at_end: true\neval_strategy: epoch\nsave_strategy: "no"\n', /needs checkpoints/],
    ['early_stopping_patience: 2\n', /needs evaluations/],
    ['lr_scheduler_type: cosine_with_min_lr\n', /needs one of min_lr and min_lr_rate in lr_scheduler_kwargs, got none line 1$/],
    ['lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1.0e-8, min_lr_rate: 0.1}\n', /got both line 2$/],
    ['lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1.0e-2}\n', /min_lr 0.01 is above learning_rate 0.000001 line 2$/],
    ['lr_scheduler_kwargs: {min_lr: 1.0e-8}\n', /belong to cosine_with_min_lr, got lr_scheduler_type: linear line 1$/],
    ['shard: 3/3\n', /^shard expected i\/n with i from 0 to n - 1, got 3\/3 line 1$/],
    ['shard: 0/3\nmerge_shards: true\n', /joins all shards/],
  ];
  for (const [text, expected] of cases) {
    const found = problemsOf(text);
    t.equal(found.length, 1, text);
    t.match(found[0], expected);
  }
  t.same(problemsOf('total_batch_size: 128\nper_device_train_batch_size: 16\ngradient_accumulation_steps: 8\n'), [], 'agreeing numbers are fine');
});

t.test('what a command needs', async (t) => {
  t.same(problemsOf('beta: 0.1\n', {}, 'train'), ['model_name_or_path is required', 'dataset_name is required (or data_files, dataset_mixture)', 'output_dir is required']);
  t.same(problemsOf('model_name_or_path: m\noutput_dir: o\ndata_files: a.jsonl\neval_strategy: steps\n', {}, 'train'), [
    'eval_strategy is steps, but there are no evaluation data: give eval_data_files, or a dataset_name that is a folder with a test split line 4',
  ]);
  t.same(problemsOf('model_name_or_path: m\noutput_dir: o\ndataset_name: folder\neval_strategy: steps\n', {}, 'train'), []);
  t.same(problemsOf('model_name_or_path: m\n', { temperature: '1', prompt: 'x' }, 'generate'), []);
  t.same(problemsOf('model_name_or_path: m\ndata_files: d\noutput_dir: o\n', { temperature: '1' }, 'train'), ['temperature is not used by edpo train (but by generate, eval-winrate) --temperature']);
  t.same(problemsOf('model_name_or_path: m\ndata_files: d\noutput_dir: o\ntemperature: 1\n', {}, 'train'), [], 'a shared file may hold other commands’ keys');
  t.same(problemsOf('model_name_or_path: m\ndata_files: d\noutput_dir: o\nloss_type: sft\n', {}, 'train'), ['loss_type sft is the command edpo sft line 4']);
  t.same(problemsOf('', {}, 'eval-winrate').map((p) => p.split(' ')[0]), ['model_name_or_path', 'dataset_name', 'output_dir', 'judge']);
  t.same(problemsOf('model_name_or_path: m\n', {}, 'generate'), ['prompt is required (or prompts_file)']);
  t.same(problemsOf('model_name_or_path: m\n', { prompt: 'a', prompts_file: 'b' }, 'generate'), ['prompt prompt and prompts_file are both given; keep one --prompt']);
  t.same(problemsOf('', { merge_shards: 'true' }, 'precompute-ref'), ['ref_cache is required (or output_dir)']);
  t.same(problemsOf('', {}, 'inspect'), ['model_name_or_path is required', 'dataset_name is required (or data_files, dataset_mixture)']);
  t.same(problemsOf('', {}, 'plan'), ['model_name_or_path is required'], 'a model alone has a plan too');
});

t.test('all problems at once, in the order of the lines, contradictions included', async (t) => {
  const found = problemsOf('beta: -1\nlearning_rat: 1\ntotal_batch_size: 100\nper_device_train_batch_size: 16\nuse_dora: true\nseed: x\n', { epsilon: '2' });
  t.same(found.map((p) => p.split(' ')[0]), ['beta', 'learning_rat', 'total_batch_size', 'use_dora', 'seed', 'epsilon']);
});

t.test('a baseline run on an ε-DPO file says which keys it leaves', async (t) => {
  const { config, notes } = load('loss_type: epsilon_dpo\nepsilon: 0.02\n', { loss_type: 'sigmoid' });
  t.equal(config.loss_type, 'sigmoid');
  t.same(notes, ['epsilon: not used (belongs to loss_type epsilon_dpo, the run has sigmoid)']);
});

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

t.test('methods without a reference, token weights and modifiers', async (t) => {
  const train = 'model_name_or_path: m\ndataset_name: d.jsonl\noutput_dir: o\n';
  t.match(problemsOf(`${train}loss_type: simpo\n`, { ref_model_name_or_path: 'r' }, 'train'), [/^ref_model_name_or_path asks for a reference, and loss_type simpo has none/]);
  t.match(problemsOf(`${train}loss_type: simpo\n`, { ref_mode: 'live' }, 'train'), [/^ref_mode asks for a reference/]);
  t.same(problemsOf(`${train}loss_type: simpo\nref_model_name_or_path: r\n`, {}, 'train'), [], 'in a file that methods share it is a note');
  t.match(problemsOf(`${train}loss_type: sparsepo\n`, {}, 'train'), [/which no cache holds: it needs ref_mode: live/]);
  t.same(problemsOf(`${train}loss_type: sparsepo\nref_mode: live\n`, {}, 'train'), []);
  t.same(problemsOf(`${train}loss_type: sparsepo\nref_mode: live\nsparsepo_mask: common\nsparsepo_l1: 0.001\n`, {}, 'train'), []);
  t.match(problemsOf(`${train}loss_type: sparsepo\nsparsepo_mask: common\n`, {}, 'train'), [/which no cache holds: it needs ref_mode: live/]);
  t.match(problemsOf(`${train}loss_type: sparsepo\nref_mode: live\nsparsepo_l1: 0.001\n`, {}, 'train'), [/^sparsepo_l1 belongs to a learned mask/]);
  t.match(problemsOf(`${train}loss_type: sparsepo\nref_mode: live\nsparsepo_mask: common\nuse_weighting: true\n`, {}, 'train'), [/^use_weighting weights each pair’s loss/]);
  t.match(problemsOf('loss_type: simpo\nsparsepo_mask: common\n'), [/^sparsepo_mask belongs to loss_type sparsepo, got loss_type: simpo/]);
  t.match(problemsOf('loss_type: mi_dpo\nrainbow_eta: 0.2\n'), [/^rainbow_eta belongs to loss_type rainbowpo, got loss_type: mi_dpo/]);
  t.match(problemsOf('loss_type: simpo\nmi_average: true\n'), [/^mi_average belongs to loss_type mi_dpo, got loss_type: simpo/]);
  t.match(problemsOf('loss_type: [sdpo, sigmoid]\n'), [/sdpo gives tokens weights of its own/]);
  t.match(problemsOf('loss_type: epsilon_dpo\nld_alpha: 0.5\n'), [/^ld_alpha is defined for/]);
});

t.test('packed bases: TRL’s keys and their other names; what contradicts them', async (t) => {
  const { config, notes } = load('use_peft: true\nload_in_4bit: true\nbnb_4bit_quant_type: nf4\nbnb_4bit_use_double_quant: true\nbnb_4bit_compute_dtype: bfloat16\n');
  t.match(config, { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', use_bnb_nested_quant: true, base_dtype: 'auto' });
  t.match(notes.join('\n'), /bnb_4bit_use_double_quant: read as use_bnb_nested_quant[\s\S]*bnb_4bit_compute_dtype: not used \(arithmetic is dtype’s, float32 or mixed_f16\)/);
  t.same(problemsOf('use_peft: true\nload_in_4bit: true\ndtype: mixed_f16\n'), [], 'QLoRA in mixed precision');
  t.match(problemsOf('use_peft: true\nload_in_4bit: true\nload_in_8bit: true\n'), [/both true; keep one/]);
  t.match(problemsOf('load_in_8bit: true\nbase_dtype: float16\n'), [/^load_in_8bit needs use_peft: true/, /^base_dtype is how frozen weights are kept.*got float16/]);
  t.match(problemsOf('use_peft: true\nload_in_4bit: true\nbnb_4bit_quant_type: fp4\n'), [/^bnb_4bit_quant_type fp4 is not available; nf4/]);
  t.match(problemsOf('quantization_bit: 4\n'), [/^quantization_bit say load_in_4bit/]);
  t.same(load('use_bnb_nested_quant: true\n').notes, ['use_bnb_nested_quant: not used (only has an effect with load_in_4bit)']);
  t.same(problemsOf('load_in_4bit: true\nmodel_name_or_path: m\nprompt: p\n', {}, 'generate'), [], 'a model that is only run needs no adapters');
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
