import type { GroupDefinition, LossDefinition, LossSettings } from '../../model/losses/types.js';
import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import { scalar, type Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { lossConstants } from './loss_constants.js';

/** What couples the documents of a group. */
export interface GroupTensors {
  /** [P, 4] of a micro-batch's documents: place in the group, label (1 desirable), uniform number, weight of its loss. */
  docInfo: Tensor;
  /** [G, 8] of a group's documents: a, a_ref, b, b_ref, label, uniform number. */
  table: Tensor;
  /** [G, 4] what the passes leave of each. */
  own: Tensor;
  /** [24]: 0..7 state, 8..15 what the passes leave of the group, 16..23 the state as of the last step not skipped. */
  state: Tensor;
}

/** Puts the sums of a micro-batch's documents to their places in the group's table. */
export const gather = defineKernel({
  name: 'group_gather',
  read: { seq_stats: 'Q 12', doc_info: 'P 4' },
  update: { group_table: 'G 8' },
  args: { P: 'u32', stride: 'u32', first: 'u32' },
  tune: { WG: 64, K: 2 },
  grid: ({ P, WG }) => perThread(P!, WG!),
});

/** One pass of a method's group statistics: its WGSL body over the documents, or once. */
export const pass = defineKernel({
  name: 'group_pass',
  read: { group_table: 'G 8', beta_state: '4' },
  update: { group_own: 'G 4', method_state: '24' },
  args: { G: 'u32', training: 'u32' },
  tune: { WG: 64, ONCE: 0 },
  grid: ({ G, WG, ONCE }) => (ONCE ? 1 : perThread(G!, WG!)),
});

/** The only kernel that settles a method's state: kept after a step, put back after a skipped one. */
export const commit = defineKernel({ name: 'method_commit', read: { step_state: '16' }, update: { method_state: '24' }, grid: () => 1 });

/** Dynamic scalars: `stride` (sequences of a document), `first` (the one whose sums count). */
export function groupGather(p: Program, t: { seqStats: Tensor; group: GroupTensors }, sides: number): void {
  p.run(gather, { seq_stats: t.seqStats, doc_info: t.group.docInfo, group_table: t.group.table }, { stride: scalar('stride'), first: scalar('first') }, { tune: { K: sides } });
}

/** The passes of a method over the table's first G documents. */
export function groupStats(p: Program, t: { betaState: Tensor; group: GroupTensors }, o: { loss: LossDefinition; group: GroupDefinition; settings: LossSettings }): void {
  const { loss, group, settings } = o;
  for (const { over, wgsl } of group.passes) {
    p.run(pass, { group_table: t.group.table, beta_state: t.betaState, group_own: t.group.own, method_state: t.group.state }, { training: scalar('training') },
      { tune: { ONCE: over === 'group' ? 1 : 0 }, prelude: [...lossConstants(loss, settings), group.functions ?? '', `fn group_pass_body(i: u32, n: u32) {\n${wgsl}\n}`].join('\n') });
  }
}

export function methodCommit(p: Program, t: { stepState: Tensor; group: GroupTensors }): void {
  p.run(commit, { step_state: t.stepState, method_state: t.group.state });
}
