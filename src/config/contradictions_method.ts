import { losses } from '../model/losses/index.js';
import { composeLoss, compositionProblem, lossNames } from '../model/losses/modifiers/compose.js';
import type { LossDefinition } from '../model/losses/types.js';
import type { Places, Purpose, Report } from './contradictions_types.js';
import { isEnvironment } from './environment.js';
import { defaultOf } from './expect.js';
import type { KeyName, RunConfig } from './keys.js';
import { totalBatch } from './total_batch.js';

/** Keys that only ε-DPO reads. */
export const EPSILON_KEYS = ['epsilon', 'epsilon_check', 'epsilon_size', 'criterion', 'criterion_deadzone', 'beta_update', 'beta_min'] as const;

/** Keys that some methods read and others do not. */
const METHOD_KEYS = [...new Set(Object.values<LossDefinition>(losses).flatMap((l) => [...Object.keys(l.params), ...Object.keys(l.options ?? {})]))] as Array<keyof RunConfig>;

/**
 * The loss, what modifies it and the numbers it reads.
 * @returns the loss of the configuration; undefined where its keys give none
 */
export function method(c: RunConfig, given: Places, bad: ReadonlySet<string>, purpose: Purpose, add: Report, notes: string[]): LossDefinition | undefined {
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
  return loss;
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
