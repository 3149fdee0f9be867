import { perThread } from '../grid.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { masterKernels, masterOf, roundingArgs } from './master.js';

const make = (momentum: boolean): ReturnType<typeof masterKernels> => masterKernels({
  name: `sgd${momentum ? '_momentum' : ''}`,
  shader: 'sgd',
  read: { grad: 'E', step_state: '16' },
  ...(momentum ? { update: { buf: 'E' } } : {}),
  args: { E: 'u32', lr: 'f32', weightDecay: 'f32', ...(momentum ? { momentum: 'f32' } : {}) },
  tune: { WG: 64 },
  prelude: `fn direction(t: u32, d: f32) -> f32 { ${momentum ? 'let b = fma(args.momentum, buf[t], d); buf[t] = b; return b;' : 'return d;'} }`,
  grid: ({ E, WG }) => perThread(E!, WG!),
});
const kernels = { plain: make(false), momentum: make(true) };

/** SGD as torch.optim.SGD has it (decay is part of the gradient, no dampening, no Nesterov); `buf`, the momentum's, starts at 0. Updates `value` and `buf` in place. */
export function sgd(p: Program, t: { value: Tensor; grad: Tensor; buf?: Tensor | undefined; stepState: Tensor }, args: { lr: ArgValue; weightDecay: ArgValue; momentum: ArgValue }, tensor = 0): void {
  const common = { value: t.value.flat(), grad: t.grad.flat(), step_state: t.stepState };
  const { momentum, ...rest } = args;
  if (t.buf) p.run(kernels.momentum[masterOf(t.value)], { ...common, buf: t.buf.flat() }, { ...rest, momentum, ...roundingArgs(t.value, tensor) });
  else p.run(kernels.plain[masterOf(t.value)], common, { ...rest, ...roundingArgs(t.value, tensor) });
}
