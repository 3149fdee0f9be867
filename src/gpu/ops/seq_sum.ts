import { perRow } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** seq_stats[q,:] = Σ stats over the scored rows of sequence q; the order depends on the sequence alone. */
export const fwd = defineKernel({
  name: 'seq_sum.fwd',
  read: { stats: 'S W', seq_start: '_ :u32' },
  write: { seq_stats: 'Q W' },
  args: { Q: 'u32', W: 'u32' },
  tune: { WG: 64 },
  grid: ({ Q, WG, SG }) => perRow(Q!, WG!, SG!),
});

/** stats [S, W], seqStart [Q+1] → seqStats [Q, W]. */
export function seqSum(p: Program, t: { stats: Tensor; seqStart: Tensor; seqStats: Tensor }): void {
  p.run(fwd, { stats: t.stats, seq_start: t.seqStart, seq_stats: t.seqStats });
}
