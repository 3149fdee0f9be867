import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';

const kernel = (accumulate: boolean): Kernel => defineKernel({
  name: `dropout${accumulate ? '_acc' : ''}`,
  shader: 'dropout',
  read: { x: 'N I', keys: 'N :u32' },
  ...(accumulate ? { update: { y: 'N I' } } : { write: { y: 'N I' } }),
  args: { N: 'u32', I: 'u32', step_key: 'u32', matrix: 'u32', p: 'f32' },
  tune: { WG: 64 },
  prelude: `fn start(i: u32) -> f32 { return ${accumulate ? 'y[i]' : '0.0'}; }`,
  grid: ({ N, I, WG }) => perThread(N! * I!, WG!),
});
const kernels = { write: kernel(false), accumulate: kernel(true) };

/** What decides which elements fall: a number of the step, of the weight matrix, and one per row; p may be 0, which copies. */
export interface DropoutKeys {
  keys: Tensor;
  stepKey: ArgValue;
  matrix: number;
  p: ArgValue;
}

/**
 * y (+)= x / (1 − p) where an element is kept, 0 where it falls (Srivastava et al. 2014), x and y [N, I], keys [N]. The mask comes of the keys and the
 * column alone, never of the row's place, so it is its own mirror: the gradient goes through the same call.
 */
export function dropout(p: Program, t: { x: Tensor; y: Tensor }, k: DropoutKeys, o: { accumulate?: boolean } = {}): void {
  p.run(o.accumulate ? kernels.accumulate : kernels.write, { ...t, keys: k.keys }, { step_key: k.stepKey, matrix: k.matrix, p: k.p });
}
