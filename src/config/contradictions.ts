import { totalBatch } from './load.js';
import { losses } from '../model/losses/index.js';
import { composeLoss, compositionProblem, lossNames } from '../model/losses/modifiers/compose.js';
import { wantsLive, type LossDefinition } from '../model/losses/types.js';
import { isEnvironment } from './environment.js';
import { defaultOf } from './expect.js';
import { AUTO_BUDGET, META, type Command, type KeyName, type RunConfig } from './keys.js';
import { mixesEvaluation } from './mixture.js';
import type { Problem } from './problems.js';

/** Keys that only ε-DPO reads. */
export const EPSILON_KEYS = ['epsilon', 'epsilon_check', 'epsilon_size', 'criterion', 'criterion_deadzone', 'beta_update', 'beta_min'] as const;

/** Keys that some methods read and others do not. */
const METHOD_KEYS = [...new Set(Object.values<LossDefinition>(losses).flatMap((l) => [...Object.keys(l.params), ...Object.keys(l.options ?? {})]))] as Array<keyof RunConfig>;

/** What a configuration is checked for: a command's needs, or (`config`) only that it makes sense. */
export type Purpose = Command | 'config';

/** Where each given key was given ("line 12", "--beta"). */
export type Places = ReadonlyMap<string, { where: string }>;

/**
 * Keys that exclude each other, values that make no sense together, keys a command needs or does not use.
 * `bad` keys (already reported; `c` holds their defaults) take part in no check.
 */
export function contradictions(c: RunConfig, given: Places, bad: ReadonlySet<string>, purpose: Purpose): { problems: Problem[]; notes: string[] } {
  const problems: Problem[] = [];
  const notes: string[] = [];
  /** Reports at the first of `keys` that was given, unless one of them is broken itself. */
  const add = (keys: Array<keyof RunConfig>, what: string): void => {
    if (keys.some((k) => bad.has(k))) return;
    const at = keys.find((k) => given.has(k)) ?? keys[0]!;
    problems.push({ key: at, what, where: given.get(at)?.where ?? '' });
  };

  const product = c.per_device_train_batch_size * c.gradient_accumulation_steps;
  if (c.total_batch_size !== undefined && (given.has('per_device_train_batch_size') || given.has('gradient_accumulation_steps')) && product !== c.total_batch_size) {
    add(['total_batch_size', 'per_device_train_batch_size', 'gradient_accumulation_steps'], `is ${c.total_batch_size}, but per_device_train_batch_size × gradient_accumulation_steps is ${product}; give one of the two`);
  }
  if (c.dtype === 'mixed_f16' && (c.load_in_4bit || c.load_in_8bit)) add(['dtype', 'load_in_4bit', 'load_in_8bit'], 'mixed_f16 keeps an f16 copy of every matrix, which load_in_4bit and load_in_8bit are there to save; give one of them');
  if (c.dtype === 'mixed_f16' && (purpose === 'generate' || purpose === 'eval-winrate')) notes.push('dtype: mixed_f16 is for training and scoring; generation computes in float32');
  if (c.criterion === 'deadzone' && c.criterion_deadzone === 0) add(['criterion_deadzone', 'criterion'], 'criterion: deadzone needs criterion_deadzone > 0 (nats), got 0');
  if (c.criterion !== 'deadzone' && c.criterion_deadzone > 0) add(['criterion_deadzone', 'criterion'], `criterion_deadzone has a meaning only with criterion: deadzone, got criterion: ${c.criterion}`);
  if (c.beta_min > c.beta) add(['beta_min', 'beta'], `beta_min ${c.beta_min} is above beta ${c.beta}`);
  if (c.loss_type !== 'epsilon_dpo' && !bad.has('loss_type')) {
    for (const name of EPSILON_KEYS) {
      if (!given.has(name)) continue;
      // A baseline run on a config of ours (--loss_type sigmoid) is fine; epsilon with the loss left out is a slip.
      if (given.has('loss_type') || isEnvironment(given.get(name)!.where)) notes.push(`${name}: not used (belongs to loss_type epsilon_dpo, the run has ${lossNames(c).join(', ')})`);
      else if (purpose === 'train' || purpose === 'config') add([name], `belongs to loss_type: epsilon_dpo; loss_type was not given and is ${lossNames(c).join(', ')} by default`);
    }
  }
  const composing = (['loss_type', 'loss_weights', 'rpo_alpha', 'f_divergence_type', 'f_alpha_divergence_coef', 'length_average', 'ld_alpha', 'use_weighting'] as const).some((k) => bad.has(k));
  const misfit = composing ? undefined : compositionProblem(c);
  if (misfit && purpose !== 'sft' && !(purpose === 'precompute-ref' && lossNames(c).length > 1)) add([misfit.key as keyof RunConfig, 'loss_type'], misfit.what);
  const loss: LossDefinition | undefined = composing || misfit ? undefined : composeLoss(c);
  const chosen = lossNames(c).join(', ');
  if (given.has('f_alpha_divergence_coef') && c.f_divergence_type !== 'alpha_divergence' && c.f_alpha_divergence_coef !== defaultOf('f_alpha_divergence_coef')) add(['f_alpha_divergence_coef', 'f_divergence_type'], `belongs to f_divergence_type: alpha_divergence, got ${c.f_divergence_type}`);
  const owns = (key: string): boolean => lossNames(c).some((n) => key in losses[n].params || key in ((losses[n] as LossDefinition).options ?? {}));
  for (const key of METHOD_KEYS) {
    // A resolved configuration names every key; its default asks for nothing.
    if (!loss || owns(key) || !given.has(key) || c[key] === defaultOf(key as KeyName)) continue;
    const owners = Object.values<LossDefinition>(losses).filter((l) => (key in l.params || key in (l.options ?? {})) && l.name !== 'epsilon_dpo').map((l) => l.name).join(', ');
    if (given.has('loss_type') && key !== 'label_smoothing') add([key], `belongs to loss_type ${owners}, got loss_type: ${chosen}`);
    else notes.push(`${key}: not used (belongs to loss_type ${owners}, the run has ${chosen})`);
  }
  if (loss) group(c, loss, given, chosen, add, notes);
  if (lossNames(c).includes('exo_pair') && c.label_smoothing === 0) add(['label_smoothing', 'loss_type'], 'exo_pair needs label_smoothing > 0 (the paper: 0.001), got 0');
  if (c.loss_type === 'sft' && purpose === 'train') add(['loss_type'], 'sft is the command edpo sft');
  if (given.has('loss_type') && c.loss_type !== 'sft' && purpose === 'sft') notes.push(`loss_type: not used (edpo sft always trains with sft, got ${chosen})`);
  if (c.max_length > 0 && c.max_prompt_length >= c.max_length && given.has('max_prompt_length')) add(['max_prompt_length', 'max_length'], `max_prompt_length ${c.max_prompt_length} leaves no room for a response within max_length ${c.max_length}`);

  for (const name of ['load_best_model_at_end', 'early_stopping_patience'] as const) {
    if (c[name] && c.eval_strategy === 'no') add([name, 'eval_strategy'], `${name} needs evaluations: set eval_strategy to steps or epoch`);
  }
  if (c.load_best_model_at_end && c.save_strategy === 'no') add(['load_best_model_at_end', 'save_strategy'], 'load_best_model_at_end needs checkpoints, got save_strategy: no');
  const trains = purpose === 'train' || purpose === 'sft';
  if (trains && c.eval_strategy !== 'no' && !hasEvaluationKeys(c)) {
    add(['eval_strategy'], `is ${c.eval_strategy}, but there are no evaluation data: give eval_data_files, or a dataset_name that is a folder with a test split${c.dataset_mixture ? ' (in dataset_mixture: test_split_size)' : ''}`);
  }
  if (given.has('eval_steps') && c.eval_steps > 0 && c.eval_strategy === 'no') notes.push('eval_steps: not used (eval_strategy is no)');
  if (c.warmup_steps > 0 && c.warmup_ratio > 0) notes.push(`warmup_ratio: not used (warmup_steps ${c.warmup_steps} wins, as in transformers)`);
  if (c.lr_scheduler_type === 'constant' && (c.warmup_steps > 0 || c.warmup_ratio > 0)) notes.push('warmup_steps, warmup_ratio: not used (lr_scheduler_type constant has no warm-up; constant_with_warmup has)');
  const { min_lr, min_lr_rate, num_cycles } = c.lr_scheduler_kwargs ?? {};
  if (c.lr_scheduler_type === 'cosine_with_min_lr') {
    if ((min_lr === undefined) === (min_lr_rate === undefined)) add(['lr_scheduler_kwargs', 'lr_scheduler_type'], `lr_scheduler_type cosine_with_min_lr needs one of min_lr and min_lr_rate in lr_scheduler_kwargs, got ${min_lr === undefined ? 'none' : 'both'}`);
    else if (min_lr !== undefined && min_lr > c.learning_rate) add(['lr_scheduler_kwargs', 'learning_rate'], `min_lr ${min_lr} is above learning_rate ${c.learning_rate}`);
  } else {
    if (min_lr !== undefined || min_lr_rate !== undefined) add(['lr_scheduler_kwargs', 'lr_scheduler_type'], `min_lr and min_lr_rate belong to cosine_with_min_lr, got lr_scheduler_type: ${c.lr_scheduler_type}`);
    if (num_cycles !== undefined && c.lr_scheduler_type !== 'cosine') add(['lr_scheduler_kwargs', 'lr_scheduler_type'], `num_cycles belongs to cosine, got lr_scheduler_type: ${c.lr_scheduler_type}`);
  }
  if (c.max_steps > 0 && given.has('num_train_epochs')) notes.push(`num_train_epochs: not used (max_steps ${c.max_steps} wins, as in transformers)`);
  if (c.overwrite_output_dir && c.resume_from_checkpoint !== undefined && c.resume_from_checkpoint !== false) notes.push('overwrite_output_dir: not used (resume_from_checkpoint continues the run that is there)');
  if (loss && wantsLive(loss.needs) && (purpose === 'precompute-ref' || (c.ref_mode === 'cache' && (purpose !== 'eval' || c.ref_cache !== undefined)) && purpose !== 'sft')) {
    add(['ref_mode', 'loss_type'], `loss_type ${chosen} weights tokens by the reference’s states in every layer, which no cache holds: it needs ref_mode: live (or adapter_off)${purpose === 'precompute-ref' ? ', and nothing to precompute' : ''}`);
  }
  if (loss?.needs.tokenWeights?.from === 'learned') {
    if (purpose === 'eval') add(['sparsepo_mask', 'loss_type'], `is ${c.sparsepo_mask}, and a learned mask is in its run’s checkpoints, not in the model’s folder; train evaluates with it (eval_strategy), eval takes sparsepo_mask: mapo or another loss_type`);
    if (c.use_weighting) add(['use_weighting', 'sparsepo_mask'], `weights each pair’s loss as a constant of the pair, and sparsepo_mask ${c.sparsepo_mask} learns what a pair’s tokens count; give one of the two`);
  } else if (loss?.name === 'sparsepo') {
    for (const name of ['sparsepo_l1', 'sparsepo_l1_kl', 'sparsepo_dropout'] as const) if (given.has(name) && c[name] !== defaultOf(name)) add([name, 'sparsepo_mask'], `belongs to a learned mask (sparsepo_mask: common or independent), got sparsepo_mask: ${c.sparsepo_mask}`);
  }
  if (loss?.needs.reference === 'none' && purpose === 'train') {
    // A file may be shared by methods; a flag asks for a reference in this very run.
    for (const name of ['ref_model_name_or_path', 'ref_mode'] as const) {
      const where = given.get(name)?.where;
      if (where === undefined || c[name] === defaultOf(name)) continue;
      if (where.startsWith('--')) add([name], `asks for a reference, and loss_type ${chosen} has none; leave it out, or take a method that has one (sigmoid)`);
      else notes.push(`${name}: not used (loss_type ${chosen} has no reference)`);
    }
  }
  if (c.sync_ref_model) {
    if (loss?.needs.reference === 'none') add(['sync_ref_model', 'loss_type'], `moves the reference, and loss_type ${chosen} has none`);
    else if (c.ref_mode !== 'live') add(['sync_ref_model', 'ref_mode'], `moves the reference, so nothing of it can be cached: it needs ref_mode: live, got ${c.ref_mode}`);
  }
  if (c.judge_dtype !== 'float32' && c.judge !== undefined && !c.judge.startsWith('pairrm:')) add(['judge_dtype', 'judge'], `is about judge: pairrm:FOLDER, got judge: ${c.judge}`);
  if (c.realign !== undefined) {
    if (c.ref_model_name_or_path === undefined && (purpose === 'generate' || purpose === 'eval-winrate')) add(['realign', 'ref_model_name_or_path'], 'mixes the policy with a reference: give ref_model_name_or_path');
    if (c.outputs !== undefined) add(['realign', 'outputs'], 'changes how answers are sampled, and outputs are already sampled');
    if (purpose === 'eval' && loss?.needs.reference === 'none') add(['realign', 'loss_type'], `mixes the policy with a reference, and loss_type ${chosen} has none; epsilon_dpo reports all columns`);
    if (purpose === 'eval' && loss?.needs.reference === 'logps' && c.ref_cache !== undefined && c.ref_mode === 'cache') add(['realign', 'ref_mode'], `needs the reference’s whole distribution, and loss_type ${chosen} caches sums: ref_mode: live, or loss_type: epsilon_dpo`);
  }
  if (c.ref_mode !== 'cache' && given.has('ref_cache') && purpose !== 'precompute-ref') notes.push(`ref_cache: not used (ref_mode is ${c.ref_mode})`);
  dataSources(c, given, add, notes);
  optimiser(c, given, purpose, add, notes);
  if (c.token_budget === AUTO_BUDGET && !trains && purpose !== 'config' && !(purpose === 'plan' && c.gpu_memory !== undefined)) add(['token_budget'], purpose === 'plan' ? 'auto needs gpu_memory here, where there is no GPU to ask' : `auto is for train and sft; give edpo ${purpose} a number of rows (--token_budget 2048)`);
  if (c.token_budget === 1) add(['token_budget'], 'must be 2 at least, or auto');
  if (!c.gradient_checkpointing && c.gradient_checkpointing_granularity !== 'layer') add(['gradient_checkpointing_granularity', 'gradient_checkpointing'], 'says what gradient_checkpointing makes again: set gradient_checkpointing: true');
  if (c.gradient_checkpointing && c.gradient_checkpointing_granularity === 'layer' && c.activation_dtype !== 'float32') notes.push('activation_dtype: not used (gradient_checkpointing keeps the residual stream alone; gradient_checkpointing_granularity: mlp keeps more)');
  lora(c, given, purpose, add, notes);
  storage(c, given, purpose, add, notes);
  if (c.shard) {
    const [i, n] = c.shard.split('/').map(Number) as [number, number];
    if (!(n > 0 && i < n)) add(['shard'], `expected i/n with i from 0 to n - 1, got ${c.shard}`);
    if (c.merge_shards) add(['merge_shards', 'shard'], 'merge_shards joins all shards; give it without shard');
  }
  if (purpose !== 'config') problems.push(...needs(c, given, bad, purpose));
  return { problems, notes };
}

/** Statistics over groups of documents: how many belong together. */
function group(c: RunConfig, loss: LossDefinition, given: Places, chosen: string, add: (keys: Array<keyof RunConfig>, what: string) => void, notes: string[]): void {
  const batch = totalBatch(c);
  if (!loss.group) {
    if (given.has('group_size')) notes.push(`group_size: not used (${chosen} has no statistics over a group)`);
    return;
  }
  if (c.group_size !== undefined && c.group_size > batch) return add(['group_size', 'total_batch_size', 'per_device_train_batch_size'], `is ${c.group_size}, and an optimiser step has ${batch} documents; a group lies within a step`);
  const members = c.group_size ?? batch;
  if (members < loss.group.least) add([c.group_size !== undefined ? 'group_size' : 'total_batch_size', 'per_device_train_batch_size', 'loss_type'], `${chosen} has nothing to compare in a group of ${members}; it needs ${loss.group.least} at least (group_size, total_batch_size)`);
}

/** Keys that one optimiser reads and another does not. */
function optimiser(c: RunConfig, given: Places, purpose: Purpose, add: (keys: Array<keyof RunConfig>, what: string) => void, notes: string[]): void {
  if (c.optim !== 'sgd' && c.sgd_momentum > 0) add(['sgd_momentum', 'optim'], `belongs to optim: sgd, got optim: ${c.optim}`);
  if (c.master_dtype === 'bfloat16' && trainsBy(c, purpose)) {
    if (c.use_peft) add(['master_dtype', 'use_peft'], 'is how trained weights are kept, and adapters are trained in float32 (they are few); the frozen base is kept as base_dtype, load_in_8bit or load_in_4bit say');
    if (c.dtype === 'mixed_f16') add(['master_dtype', 'dtype'], 'bfloat16 has no f16 copies beside it, which dtype: mixed_f16 multiplies with; give one of the two');
    if (c.sync_ref_model) add(['master_dtype', 'sync_ref_model'], 'bfloat16 and a reference that moves (kept in float32) are not mixed yet; give one of the two');
  }
  if (c.optim !== 'sgd' && c.optim !== 'adafactor') return;
  const unused = (['adam_beta1', 'adam_beta2', 'adam_epsilon'] as const).filter((k) => given.has(k) && c[k] !== defaultOf(k));
  if (unused.length > 0) notes.push(`${unused.join(', ')}: not used (optim is ${c.optim})`);
}

/** Does the configuration choose how to train? A plan without data shows a model with adapters and without. */
const trainsBy = (c: RunConfig, purpose: Purpose): boolean =>
  purpose === 'train' || purpose === 'sft' || purpose === 'config' || (purpose === 'plan' && hasData(c));

/** Keys that say something of adapters alone. */
const LORA_KEYS = ['lora_r', 'lora_alpha', 'lora_target_modules', 'lora_dropout', 'use_rslora', 'lora_modules_to_save'] as const;

function lora(c: RunConfig, given: Places, purpose: Purpose, add: (keys: Array<keyof RunConfig>, what: string) => void, notes: string[]): void {
  const trains = trainsBy(c, purpose);
  if (c.use_peft) {
    if (given.has('lora_dropout') && c.lora_dropout > 0 && c.disable_dropout && purpose !== 'sft') notes.push('lora_dropout: not used (disable_dropout is true, as TRL’s DPO trainer has it too; --disable_dropout false)');
    if (c.sync_ref_model) add(['sync_ref_model', 'use_peft'], 'moves the reference’s weights, which adapters leave frozen; give one of the two');
  } else {
    const unused = LORA_KEYS.filter((k) => given.has(k) && c[k] !== defaultOf(k));
    if (unused.length > 0 && trains) notes.push(`${unused.join(', ')}: not used (only has an effect with use_peft)`);
  }
  if (c.ref_mode !== 'adapter_off') return;
  if (c.ref_model_name_or_path !== undefined) add(['ref_mode', 'ref_model_name_or_path'], 'adapter_off takes the policy’s base as the reference, and ref_model_name_or_path names another one; give one of the two');
  if (!c.use_peft && trains) add(['ref_mode', 'use_peft'], 'adapter_off is for LoRA (use_peft: true); live runs a reference of its own');
}

/** How frozen weights are kept: what is trained in full is not among them. */
function storage(c: RunConfig, given: Places, purpose: Purpose, add: (keys: Array<keyof RunConfig>, what: string) => void, notes: string[]): void {
  const trains = trainsBy(c, purpose);
  if (c.load_in_4bit && c.load_in_8bit) add(['load_in_8bit', 'load_in_4bit'], 'load_in_4bit and load_in_8bit are both true; keep one');
  for (const key of ['load_in_4bit', 'load_in_8bit'] as const) if (c[key] && trains && !c.use_peft) add([key, 'use_peft'], `needs use_peft: true (${key === 'load_in_4bit' ? 'QLoRA' : 'LoRA on an 8-bit base'}): quantised weights stay as they are, only adapters on them are trained`);
  // Trained bf16 weights begin equal to a reference in bf16: there it is the reference's format.
  if ((c.base_dtype === 'float16' || (c.base_dtype === 'bfloat16' && c.master_dtype !== 'bfloat16')) && trains && !c.use_peft) add(['base_dtype', 'use_peft'], `is how frozen weights are kept, and without use_peft: true all are trained, as master_dtype says, got ${c.base_dtype}`);
  if (c.use_bnb_nested_quant && !c.load_in_4bit) notes.push('use_bnb_nested_quant: not used (only has an effect with load_in_4bit)');
}

/** Does the configuration name data? */
export const hasData = (c: Pick<RunConfig, 'dataset_name' | 'data_files' | 'dataset_mixture'>): boolean => c.dataset_name !== undefined || c.data_files !== undefined || c.dataset_mixture !== undefined;

/** Which keys name data: one of them alone. */
function dataSources(c: RunConfig, given: Places, add: (keys: Array<keyof RunConfig>, what: string) => void, notes: string[]): void {
  const m = c.dataset_mixture;
  if (m === undefined) return;
  for (const key of ['dataset_name', 'data_files'] as const) if (c[key] !== undefined) add(['dataset_mixture', key], `${key} names data, too; give one of the two`);
  for (const key of ['data_dir', 'dataset_revision'] as const) if (c[key] !== undefined) add([key, 'dataset_mixture'], `belongs to dataset_name; a mixture says ${key === 'data_dir' ? 'config (or data_dir)' : 'id: ORG/NAME@REVISION'} for each data set`);
  const sources = [...((m.test_split_size ?? undefined) !== undefined ? ['test_split_size'] : []), ...(m.test_datasets ? ['test_datasets'] : []), ...(c.eval_data_files ? ['eval_data_files'] : [])];
  if (sources.length > 1) add(['dataset_mixture', 'eval_data_files'], `${sources.join(' and ')} both say what is evaluated on; give one of them`);
  const unused = (['dataset_train_split', 'dataset_test_split'] as const).filter((k) => given.has(k) && c[k] !== defaultOf(k));
  if (unused.length > 0) notes.push(`${unused.join(', ')}: not used (dataset_mixture says the split of each data set)`);
}

/** Could there be evaluation data? A single data file has no test split. */
export const hasEvaluationKeys = (c: RunConfig): boolean =>
  c.eval_data_files !== undefined || mixesEvaluation(c) || (c.dataset_name !== undefined && c.data_files === undefined && !/\.(jsonl|ndjson|json|parquet)(\.gz)?$/.test(c.dataset_name));

/** Keys a command cannot do without: one of each group. */
const REQUIRED: Record<Command, Array<Array<keyof RunConfig>>> = (() => {
  const model: Array<keyof RunConfig> = ['model_name_or_path'];
  const data: Array<keyof RunConfig> = ['dataset_name', 'data_files', 'dataset_mixture'];
  const out: Array<keyof RunConfig> = ['output_dir'];
  return {
    train: [model, data, out], sft: [model, data, out], eval: [model, data, out], 'precompute-ref': [model, data, ['ref_cache', 'output_dir']],
    'eval-winrate': [out, ['judge']], generate: [model, ['prompt', 'prompts_file']], plan: [model], inspect: [model, data], merge: [model, out],
  };
})();

/** A win rate of answers in files needs neither model nor data; a model may answer the instructions of the baseline's file. */
function winRateNeeds(c: RunConfig): Array<Array<keyof RunConfig>> {
  const data: Array<keyof RunConfig> = ['dataset_name', 'data_files', 'dataset_mixture'];
  if (c.outputs !== undefined && !hasData(c)) return [];
  return hasData(c) || c.questions !== undefined || c.baseline !== 'chosen' ? [['model_name_or_path']] : [['model_name_or_path'], [...data, 'questions']];
}

/** Keys a command cannot do without, and flags it does not use (keys of a shared YAML may belong to other commands). */
function needs(c: RunConfig, given: Places, bad: ReadonlySet<string>, command: Command): Problem[] {
  const found: Problem[] = [];
  for (const group of [...(command === 'eval-winrate' ? winRateNeeds(c) : []), ...REQUIRED[command]]) {
    // Judgments already made need nobody to make them.
    if (command === 'eval-winrate' && c.judgments !== undefined) continue;
    // Merging shards reads nothing but the cache folder.
    if (c.merge_shards && command === 'precompute-ref' && !group.includes('ref_cache')) continue;
    if (group.some((k) => c[k] !== undefined || bad.has(k))) continue;
    found.push({ key: group[0]!, what: group.length > 1 ? `is required (or ${group.slice(1).join(', ')})` : 'is required', where: '' });
  }
  if (command === 'generate' && c.prompt !== undefined && c.prompts_file !== undefined) found.push({ key: 'prompt', what: 'prompt and prompts_file are both given; keep one', where: given.get('prompt')?.where ?? '' });
  for (const [name, { where }] of given) {
    const meta = META[name];
    if (meta && where.startsWith('--') && !meta.commands.includes(command)) found.push({ key: name, what: `is not used by edpo ${command} (but by ${meta.commands.join(', ')})`, where });
  }
  return found;
}
