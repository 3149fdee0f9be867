import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** What a gate or an MLP applies: SiLU (SwiGLU), GELU in its tanh form (GeGLU, as Gemma has it; GPT-2's gelu_new) or in its erf form. */
export type Gate = 'silu' | 'gelu_tanh' | 'gelu';
export const KIND: Record<Gate, number> = { silu: 0, gelu_tanh: 1, gelu: 2 };

/** h = act(gate)·up (Shazeer 2020, arXiv 2002.05202), all [N, F]. */
export const fwd = defineKernel({
  name: 'swiglu.fwd',
  read: { gate: 'N F', up: 'N F' },
  write: { h: 'N F' },
  args: { N: 'u32', F: 'u32' },
  tune: { WG: 64, KIND: 0 },
  grid: ({ N, F, WG }) => perThread(N! * F!, WG!),
});

export const bwd = defineKernel({
  name: 'swiglu.bwd',
  read: { gate: 'N F', up: 'N F', dh: 'N F' },
  write: { dgate: 'N F', dup: 'N F' },
  args: { N: 'u32', F: 'u32' },
  tune: { WG: 64, KIND: 0 },
  grid: ({ N, F, WG }) => perThread(N! * F!, WG!),
});

export function swiglu(p: Program, t: { gate: Tensor; up: Tensor; h: Tensor }, gate: Gate = 'silu'): void {
  p.run(fwd, t, {}, { tune: { KIND: KIND[gate] } });
}
/** Writes `dgate` and `dup`. */
export function swigluBackward(p: Program, t: { gate: Tensor; up: Tensor; dh: Tensor; dgate: Tensor; dup: Tensor }, gate: Gate = 'silu'): void {
  p.run(bwd, t, {}, { tune: { KIND: KIND[gate] } });
}
