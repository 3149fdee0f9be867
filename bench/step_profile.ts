import { kernelOf, type DispatchTime } from '../src/gpu/profile.js';
import { matmulFlops } from '../src/gpu/program.js';
import type { Document } from '../src/model/batch/pack.js';

/** What one kernel did in a step. */
export interface KernelShare {
  kernel: string;
  ms: number;
  share: number;
  dispatches: number;
  /** Where its work is known: products, and attention. */
  gflops?: number;
  /** Where it touches all it binds once. */
  gbps?: number;
}

/** Query-key pairs the attention of these documents looks at: a prompt row its prompt up to itself, a branch's row the prompt and its branch up to itself. */
export const visiblePairs = (documents: Document[]): number =>
  documents.reduce((sum, { prompt: { length: P }, branches }) => sum + (P * (P + 1)) / 2 + branches.reduce((n, { length: b }) => n + b * P + (b * (b + 1)) / 2, 0), 0);

/** Multiply-adds for every pair, head and column: scores and values; backward dP and dQ on the scores made again; or dP, dV and dK. */
const ATTENTION: Array<[RegExp, number]> = [[/^attention\.(\w+_)?fwd/, 2], [/^attention\.\w+_dq/, 3], [/^attention\.\w+_dkv/, 4]];
/** Kernels that bind tables or operands they touch in part, or several times. */
const PARTIAL = /^(matmul|split_sum|attention|embed|disentangled)/;

/** Sums a profiled step by kernel, the longest first. `visible`: of one attention dispatch, by its place in the list. */
export function kernelShares(times: DispatchTime[], visible: (at: number) => number): KernelShare[] {
  const sums = new Map<string, { ms: number; dispatches: number; flops: number; bytes: number }>();
  times.forEach(({ label, ms, inputs, bytes }, at) => {
    const kernel = kernelOf(label);
    const sum = sums.get(kernel) ?? { ms: 0, dispatches: 0, flops: 0, bytes: 0 };
    const products = ATTENTION.find(([name]) => name.test(kernel))?.[1] ?? 0;
    sum.ms += ms;
    sum.dispatches++;
    sum.flops += matmulFlops([{ label: kernel, inputs }]) + (products > 0 && inputs['H'] && inputs['C'] ? 2 * products * inputs['H'] * inputs['C'] * visible(at) : 0);
    sum.bytes += PARTIAL.test(kernel) ? 0 : bytes;
    sums.set(kernel, sum);
  });
  const total = times.reduce((n, t) => n + t.ms, 0);
  return [...sums].map(([kernel, s]): KernelShare => ({
    kernel, ms: s.ms, share: s.ms / total, dispatches: s.dispatches, ...(s.flops > 0 ? { gflops: s.flops / s.ms / 1e6 } : {}), ...(s.bytes > 0 ? { gbps: s.bytes / s.ms / 1e6 } : {}),
  })).sort((a, b) => b.ms - a.ms);
}
