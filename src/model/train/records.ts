import { PAIR_COLUMNS } from '../../gpu/ops/document_loss.js';
import type { Document } from '../batch/pack.js';
import type { LossDefinition } from '../losses/types.js';
import type { PairTables } from './batches.js';
import type { PairRecord } from './ledger.js';

/** Turns a step's tables into ledger records; columns that this method's head did not compute become null. */
export function pairRecords(tables: PairTables, step: number, loss: LossDefinition, o: { reference: boolean; hidden: boolean }): PairRecord[] {
  return tables.documents.map((d, i) => record(d, tables.tables[i]!, step, loss, o));
}

function record(d: Document, row: Float32Array, step: number, loss: LossDefinition, o: { reference: boolean; hidden: boolean }): PairRecord {
  const get = (key: (typeof PAIR_COLUMNS)[number]): number => row[PAIR_COLUMNS.indexOf(key)]!;
  const pair = loss.needs.branches === 2;
  const when = (condition: boolean, key: (typeof PAIR_COLUMNS)[number]): number | null => (condition ? get(key) : null);
  const ref = pair && o.reference;
  const hidden = pair && o.hidden;
  // A method without a reference has a reward of its own.
  const rewardsAlone = loss.needs.reference === 'none';
  return {
    id: d.id,
    step,
    policy_logps_chosen: get('policy_logps_chosen'),
    policy_logps_rejected: when(pair, 'policy_logps_rejected'),
    ref_logps_chosen: when(o.reference, 'ref_logps_chosen'),
    ref_logps_rejected: when(ref, 'ref_logps_rejected'),
    tokens_prompt: d.prompt.length,
    tokens_chosen: d.branches[0]!.length,
    tokens_rejected: pair ? d.branches.at(-1)!.length : null,
    margin: when(ref, 'margin'),
    logratio: when(pair, 'logratio'),
    delta_plus: when(hidden, 'delta_plus'),
    delta_minus: when(hidden, 'delta_minus'),
    epsilon_step: when(hidden, 'epsilon_step'),
    beta: when(pair, 'beta'),
    loss: get('loss'),
    loss_dpo: when(ref, 'loss_dpo'),
    reward_chosen: when(pair && (o.reference || rewardsAlone), 'reward_chosen'),
    reward_rejected: when(pair && (o.reference || rewardsAlone), 'reward_rejected'),
    kl_policy_ref_chosen: when(o.hidden, 'kl_policy_ref_chosen'),
    kl_policy_ref_rejected: when(hidden, 'kl_policy_ref_rejected'),
    kl_ref_policy_chosen: when(o.hidden, 'kl_ref_policy_chosen'),
    kl_ref_policy_rejected: when(hidden, 'kl_ref_policy_rejected'),
    entropy_chosen: get('entropy_chosen'),
    entropy_rejected: when(pair, 'entropy_rejected'),
    ...(loss.holdsScores ? { score_held: get('score_held') } : {}),
  };
}

