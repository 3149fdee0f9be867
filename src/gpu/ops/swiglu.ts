import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { packKernel, writeOperand } from './pack_f16.js';

/** What a gate or an MLP applies: SiLU (SwiGLU), GELU in its tanh form (GeGLU, as Gemma has it; GPT-2's gelu_new) or in its erf form. */
export type Gate = 'silu' | 'gelu_tanh' | 'gelu';
export const KIND: Record<Gate, number> = { silu: 0, gelu_tanh: 1, gelu: 2 };

/** By one element a thread, or by four where rows are whole fours. */
function kernels(vector: boolean): { fwd: Kernel; bwd: Kernel } {
  const [suffix, wide] = vector ? ['_vec4', 'N F :vec4f'] : ['', 'N F'];
  const common = {
    args: { N: 'u32', F: 'u32' } as const,
    tune: { WG: vector ? 256 : 64, KIND: 0, WIDTH: vector ? 4 : 1 },
    prelude: vector
      ? 'alias Vec = vec4f;\nfn acted(g: Vec) -> Vec { return gate_value4(g); }\nfn sloped(g: Vec) -> Vec { return gate_slope4(g); }'
      : 'alias Vec = f32;\nfn acted(g: Vec) -> Vec { return gate_value(g); }\nfn sloped(g: Vec) -> Vec { return gate_slope(g); }',
    grid: ({ N, F, WG, WIDTH }: Record<string, number>) => perThread((N! * F!) / WIDTH!, WG!),
  };
  return {
    /** h = act(gate)·up (Shazeer 2020, arXiv 2002.05202), all [N, F]. */
    fwd: defineKernel({ ...common, name: `swiglu.fwd${suffix}`, shader: 'swiglu.fwd', read: { gate: wide, up: wide }, write: { h: wide } }),
    bwd: defineKernel({ ...common, name: `swiglu.bwd${suffix}`, shader: 'swiglu.bwd', read: { gate: wide, up: wide, dh: wide }, write: { dgate: wide, dup: wide } }),
  };
}
const plain = kernels(false);
const vec4 = kernels(true);
const choose = (gate: Tensor): typeof plain => ((gate.shape[1] as number) % 4 === 0 ? vec4 : plain);

/** h as an f16 operand. */
const fwdF16 = packKernel('swiglu.fwd_f16', { gate: '_ Y :vec4f', up: '_ Y :vec4f' });

export function swiglu(p: Program, t: { gate: Tensor; up: Tensor; h: Tensor }, gate: Gate = 'silu'): void {
  p.run(choose(t.gate).fwd, t, {}, { tune: { KIND: KIND[gate] } });
}

/** `swiglu` where nothing but a matrix product of `slot` reads h: only its packed operand is made. F is a multiple of 4. */
export function swigluOperand(p: Program, t: { gate: Tensor; up: Tensor; h: Tensor }, slot: number, gate: Gate = 'silu'): void {
  writeOperand(p, fwdF16, { gate: t.gate, up: t.up }, t.h, slot, { KIND: KIND[gate] });
}

/** Writes `dgate` and `dup`. */
export function swigluBackward(p: Program, t: { gate: Tensor; up: Tensor; dh: Tensor; dgate: Tensor; dup: Tensor }, gate: Gate = 'silu'): void {
  p.run(choose(t.gate).bwd, t, {}, { tune: { KIND: KIND[gate] } });
}
