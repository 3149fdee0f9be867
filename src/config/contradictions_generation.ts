import { lossNames } from '../model/losses/modifiers/compose.js';
import type { LossDefinition } from '../model/losses/types.js';
import type { Purpose, Report } from './contradictions_types.js';
import type { RunConfig } from './keys.js';

/** Answers that are sampled or given, and their judge. */
export function generation(c: RunConfig, loss: LossDefinition | undefined, purpose: Purpose, add: Report): void {
  if (c.judge_dtype !== 'float32' && c.judge !== undefined && !c.judge.startsWith('pairrm:')) add(['judge_dtype', 'judge'], `is about judge: pairrm:FOLDER, got judge: ${c.judge}`);
  if (c.realign !== undefined) {
    if (c.ref_model_name_or_path === undefined && (purpose === 'generate' || purpose === 'eval-winrate')) add(['realign', 'ref_model_name_or_path'], 'mixes the policy with a reference: give ref_model_name_or_path');
    if (c.outputs !== undefined) add(['realign', 'outputs'], 'changes how answers are sampled, and outputs are already sampled');
    if (purpose === 'eval' && loss?.needs.reference === 'none') add(['realign', 'loss_type'], `mixes the policy with a reference, and loss_type ${lossNames(c).join(', ')} has none; epsilon_dpo reports all columns`);
    if (purpose === 'eval' && loss?.needs.reference === 'logps' && c.ref_cache !== undefined && c.ref_mode === 'cache') add(['realign', 'ref_mode'], `needs the reference’s whole distribution, and loss_type ${lossNames(c).join(', ')} caches sums: ref_mode: live, or loss_type: epsilon_dpo`);
  }
}
