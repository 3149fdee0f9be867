import { losses } from '../model/losses/index.js';
import { composeLoss, compositionProblem, lossNames } from '../model/losses/modifiers/compose.js';
import { wantsLive, type LossDefinition } from '../model/losses/types.js';
import { dataSources, hasEvaluationKeys } from './contradictions_data.js';
import { lora, optimiser, storage } from './contradictions_training.js';
import type { Places, Purpose, Report } from './contradictions_types.js';
import { isEnvironment } from './environment.js';
import { defaultOf } from './expect.js';
import { AUTO_BUDGET, type KeyName, type RunConfig } from './keys.js';
import { needs } from './needs.js';
import type { Problem } from './problems.js';
import { totalBatch } from './total_batch.js';

/** Keys that only ε-DPO reads. */
export const EPSILON_KEYS = ['epsilon', 'epsilon_check', 'epsilon_size', 'criterion', 'criterion_deadzone', 'beta_update', 'beta_min'] as const;

/** Keys that some methods read and others do not. */
const METHOD_KEYS = [...new Set(Object.values<LossDefinition>(losses).flatMap((l) => [...Object.keys(l.params), ...Object.keys(l.options ?? {})]))] as Array<keyof RunConfig>;

/**
 * Keys that exclude each other, values that make no sense together, keys a command needs or does not use.
 * `bad` keys (already reported; `c` holds their defaults) take part in no check.
 */
export function contradictions(c: RunConfig, given: Places, bad: ReadonlySet<string>, purpose: Purpose): { problems: Problem[]; notes: string[] } {
  const problems: Problem[] = [];
  const notes: string[] = [];
  /** Reports at the first of `keys` that was given, unless one of them is broken itself. */
  const add: Report = (keys, what) => {
    if (keys.some((k) => bad.has(k))) return;
    const at = keys.find((k) => given.has(k)) ?? keys[0]!;
    problems.push({ key: at, what, where: given.get(at)?.where ?? '' });
  };

  const product = c.per_device_train_batch_size * c.gradient_accumulation_steps;
  if (c.total_batch_size !== undefined && (given.has('per_device_train_batch_size') || given.has('gradient_accumulation_steps')) && product !== c.total_batch_size) {
    add(['total_batch_size', 'per_device_train_batch_size', 'gradient_accumulation_steps'], `is ${c.total_batch_size}, but per_device_train_batch_size × gradient_accumulation_steps is ${product}; give one of the two`);
  }
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
  if (loss?.name === 'bco') densityRatio(c, given, purpose, add);
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
  if (c.adapters) {
    const twice = c.adapters.find((a, i) => c.adapters!.indexOf(a) !== i);
    if (twice !== undefined) add(['adapters'], `names "${twice}" twice, and a card serves one process; NAME@0,NAME@1 are two that are called alike`);
    if (c.adapters.includes('all') && c.adapters.length > 1) add(['adapters'], '"all" stands alone');
    for (const key of ['adapter', 'shard', 'merge_shards'] as const) if (given.get(key)?.where.startsWith('--')) add([key, 'adapters'], `is one process’s; adapters gives each ${key === 'adapter' ? 'its own' : 'its shard and joins them'}`);
  }
  if (purpose !== 'config') problems.push(...needs(c, given, bad, purpose));
  return { problems, notes };
}

/** Statistics over groups of documents: how many belong together. */
function group(c: RunConfig, loss: LossDefinition, given: Places, chosen: string, add: Report, notes: string[]): void {
  const batch = totalBatch(c);
  if (!loss.group) {
    if (given.has('group_size')) notes.push(`group_size: not used (${chosen} has no statistics over a group)`);
    return;
  }
  if (c.group_size !== undefined && c.group_size > batch) return add(['group_size', 'total_batch_size', 'per_device_train_batch_size'], `is ${c.group_size}, and an optimiser step has ${batch} documents; a group lies within a step`);
  const members = c.group_size ?? batch;
  if (members < loss.group.least) add([c.group_size !== undefined ? 'group_size' : 'total_batch_size', 'per_device_train_batch_size', 'loss_type'], `${chosen} has nothing to compare in a group of ${members}; it needs ${loss.group.least} at least (group_size, total_batch_size)`);
}

/** BCO's weights of undesirable responses. */
function densityRatio(c: RunConfig, given: Places, purpose: Purpose, add: Report): void {
  if (c.min_density_ratio > c.max_density_ratio) add(['min_density_ratio', 'max_density_ratio'], `is ${c.min_density_ratio}, above max_density_ratio ${c.max_density_ratio}`);
  const file = c.prompt_embeddings !== undefined && c.prompt_embeddings !== 'reference';
  if (c.prompt_embeddings === undefined) {
    for (const name of ['prompt_sample_size', 'min_density_ratio', 'max_density_ratio'] as const) if (given.has(name) && c[name] !== defaultOf(name)) add([name, 'prompt_embeddings'], 'belongs to the weights that prompt_embeddings makes; it was not given');
  }
  if (c.eval_prompt_embeddings !== undefined && !file) add(['eval_prompt_embeddings', 'prompt_embeddings'], `goes with a file in prompt_embeddings, got ${c.prompt_embeddings ?? 'none'}`);
  if (file && purpose === 'train' && c.eval_strategy !== 'no' && c.eval_prompt_embeddings === undefined) add(['prompt_embeddings', 'eval_strategy'], 'is a file, and the evaluation data need one of their own: give eval_prompt_embeddings, or prompt_embeddings: reference');
}
