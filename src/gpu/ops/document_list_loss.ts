import type { LossDefinition, LossSettings } from '../../model/losses/types.js';
import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import { scalar, type Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { lossConstants } from './loss_constants.js';

/** One thread per list of responses: loss, coefficients, ledger row. The loss's WGSL is set in by `prelude`. */
export const kernel = defineKernel({
  name: 'document_list_loss',
  read: { seq_stats: 'Q 12', seq_start: '_ :u32', doc_start: '_ :u32', scores: 'Q' },
  write: { coef: 'Q 2', pairs: 'P 24' },
  args: { P: 'u32', inv_count: 'f32', beta: 'f32' },
  tune: { WG: 16 },
  grid: ({ P, WG }) => perThread(P!, WG!),
});

/** seqStats [Q, 12], docStart [P+1], scores [Q] → coef [Q, 2], pairs [P, 24]; `invCount` as in `documentLoss`. The loss needs a list form without a reference. */
export function documentListLoss(p: Program, t: { seqStats: Tensor; seqStart: Tensor; docStart: Tensor; scores: Tensor; coef: Tensor; pairs: Tensor }, { loss, settings }: { loss: LossDefinition; settings: LossSettings }): void {
  const reward = `fn reward_of(s: Side, beta: f32) -> f32 { return ${loss.reward!.wgsl}; }`;
  p.run(
    kernel,
    { seq_stats: t.seqStats, seq_start: t.seqStart, doc_start: t.docStart, scores: t.scores, coef: t.coef, pairs: t.pairs },
    { inv_count: scalar('invCount'), beta: settings.beta },
    { prelude: [...lossConstants(loss, settings), reward, loss.functions ?? '', loss.list!.wgsl].join('\n') },
  );
}
