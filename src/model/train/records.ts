import { PAIR_COLUMNS } from '../../gpu/ops/document_loss.js';
import type { Document } from '../batch/pack.js';
import type { LossDefinition } from '../losses/types.js';
import type { PairTables } from './batches.js';
import type { PairRecord } from './ledger.js';

type Column = (typeof PAIR_COLUMNS)[number];

/** Turns a step's tables into ledger records; columns that this method's head did not compute become null. */
export function pairRecords(tables: PairTables, step: number, loss: LossDefinition, o: { reference: boolean; hidden: boolean }): PairRecord[] {
  return tables.documents.map((d, i) => record(d, tables.tables[i]!, step, loss, o));
}

function record(d: Document, row: Float32Array, step: number, loss: LossDefinition, o: { reference: boolean; hidden: boolean }): PairRecord {
  const get = (key: Column): number => row[PAIR_COLUMNS.indexOf(key)]!;
  const pair = loss.needs.branches === 2;
  // A single response without the label of a desirable one stands on the rejected side.
  const [chosen, rejected] = [pair || d.desirable !== false, pair || d.desirable === false];
  const when = (condition: boolean, key: Column): number | null => (condition ? get(key) : null);
  /** The rejected side's column; of a single response the first one's. */
  const other = (condition: boolean, key: Column, single: Column): number | null => (condition && rejected ? get(pair ? key : single) : null);
  const ref = pair && o.reference;
  const hidden = pair && o.hidden;
  // A method without a reference has a reward of its own; a likelihood alone has none.
  const rewards = (pair || loss.needs.unpaired === true) && (o.reference || loss.needs.reference === 'none');
  const column = loss.column !== undefined && loss.column.name !== 'beta' ? { [loss.column.name]: get('column') } : {};
  return {
    id: d.id,
    step,
    policy_logps_chosen: when(chosen, 'policy_logps_chosen'),
    policy_logps_rejected: other(true, 'policy_logps_rejected', 'policy_logps_chosen'),
    ref_logps_chosen: when(chosen && o.reference, 'ref_logps_chosen'),
    ref_logps_rejected: other(o.reference, 'ref_logps_rejected', 'ref_logps_chosen'),
    tokens_prompt: d.prompt.length,
    tokens_chosen: chosen ? d.branches[0]!.length : null,
    tokens_rejected: rejected ? (pair ? d.branches.at(-1)! : d.branches[0]!).length : null,
    margin: when(ref, 'margin'),
    logratio: when(pair, 'logratio'),
    delta_plus: when(hidden, 'delta_plus'),
    delta_minus: when(hidden, 'delta_minus'),
    epsilon_step: when(hidden, 'epsilon_step'),
    beta: when(pair, 'beta'),
    loss: get('loss'),
    loss_dpo: when(ref, 'loss_dpo'),
    reward_chosen: when(chosen && rewards, 'reward_chosen'),
    reward_rejected: other(rewards, 'reward_rejected', 'reward_chosen'),
    kl_policy_ref_chosen: when(chosen && o.hidden, 'kl_policy_ref_chosen'),
    kl_policy_ref_rejected: other(o.hidden, 'kl_policy_ref_rejected', 'kl_policy_ref_chosen'),
    kl_ref_policy_chosen: when(chosen && o.hidden, 'kl_ref_policy_chosen'),
    kl_ref_policy_rejected: other(o.hidden, 'kl_ref_policy_rejected', 'kl_ref_policy_chosen'),
    entropy_chosen: when(chosen, 'entropy_chosen'),
    entropy_rejected: other(true, 'entropy_rejected', 'entropy_chosen'),
    ...(loss.holdsScores ? { score_held: get('score_held') } : {}),
    ...column,
  };
}
