import { lossNames } from '../model/losses/modifiers/compose.js';
import { wantsLive, type LossDefinition } from '../model/losses/types.js';
import type { Places, Purpose, Report } from './contradictions_types.js';
import { defaultOf } from './expect.js';
import type { RunConfig } from './keys.js';

/** What the loss needs of the reference, and what the keys make of it. @param loss undefined where the loss’s own keys are at fault */
export function reference(c: RunConfig, loss: LossDefinition | undefined, given: Places, purpose: Purpose, add: Report, notes: string[]): void {
  const chosen = lossNames(c).join(', ');
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
  if (c.ref_mode !== 'cache' && given.has('ref_cache') && purpose !== 'precompute-ref') notes.push(`ref_cache: not used (ref_mode is ${c.ref_mode})`);
}
