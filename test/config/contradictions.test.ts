import t from 'tap';
import { load, problemsOf } from '../helpers/load_config.js';

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

t.test('a baseline run on an ε-DPO file says which keys it leaves', async (t) => {
  const { config, notes } = load('loss_type: epsilon_dpo\nepsilon: 0.02\n', { loss_type: 'sigmoid' });
  t.equal(config.loss_type, 'sigmoid');
  t.same(notes, ['epsilon: not used (belongs to loss_type epsilon_dpo, the run has sigmoid)']);
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
