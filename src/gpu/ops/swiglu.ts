import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import { Dyn, type Tensor } from '../tensor.js';
import { padding } from './operand_layout.js';
import { operandRoom, packGrid, packKernel, scaleMeasured, WATCHED, watchedRun, writeOperand } from './pack_f16.js';

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
const choose = (p: Program, gate: Tensor): typeof plain => (byFours(p.gpu, gate.shape[1] as number) ? vec4 : plain);

/** h as an f16 operand. */
const fwdF16 = packKernel('swiglu.fwd_f16', { gate: '_ Y :vec4f', up: '_ Y :vec4f' });

/** dgate and dup as f16 operands. */
const bwdF16 = defineKernel({
  name: 'swiglu.bwd_f16',
  read: { gate: 'M I :vec4f', up: 'M I :vec4f', dh: 'M I :vec4f', scales: 'K' },
  write: { packed_gate: '_ :vec4<u32>', packed_up: '_ :vec4<u32>' },
  update: { peaks: 'K :atomic<u32>' },
  args: { M: 'u32', I: 'u32', W: 'u32', slot: 'u32', slot_up: 'u32' },
  tune: { WG: 256, TILE: 128, RUN: 1, MEASURE: 0, KIND: 0 },
  prelude: WATCHED,
  grid: packGrid,
});

export function swiglu(p: Program, t: { gate: Tensor; up: Tensor; h: Tensor }, gate: Gate = 'silu'): void {
  p.run(choose(p, t.gate).fwd, t, {}, { tune: { KIND: KIND[gate] } });
}

/** `swiglu` where nothing but a matrix product of `slot` reads h: only its packed operand is made. F is a multiple of 4. */
export function swigluOperand(p: Program, t: { gate: Tensor; up: Tensor; h: Tensor }, slot: number, gate: Gate = 'silu'): void {
  writeOperand(p, fwdF16, { gate: t.gate, up: t.up }, t.h, slot, { tune: { KIND: KIND[gate] } });
}

/** Writes `dgate` and `dup`. */
export function swigluBackward(p: Program, t: { gate: Tensor; up: Tensor; dh: Tensor; dgate: Tensor; dup: Tensor }, gate: Gate = 'silu'): void {
  p.run(choose(p, t.gate).bwd, t, {}, { tune: { KIND: KIND[gate] } });
}

/** `swigluBackward` where nothing but matrix products of these slots read `dgate` and `dup`: only their packed operands are made. F is a multiple of 4. */
export function swigluBackwardOperands(p: Program, t: { gate: Tensor; up: Tensor; dh: Tensor; dgate: Tensor; dup: Tensor }, slots: { gate: number; up: number }, gate: Gate = 'silu'): void {
  const { tile, scales, peaks } = p.operands!;
  const F = t.gate.shape[1] as number;
  const a = operandRoom(p, t.dgate, slots.gate, F, {});
  const b = operandRoom(p, t.dup, slots.up, F, { busy: [a] });
  const run = (MEASURE: 0 | 1): void => p.run(
    bwdF16, { gate: t.gate, up: t.up, dh: t.dh, scales, peaks: peaks!, packed_gate: a.packed, packed_up: b.packed },
    { W: a.stride, slot: slots.gate, slot_up: slots.up, measure: new Dyn('measureScales', 0) }, { tune: { KIND: KIND[gate], ...padding(tile), RUN: watchedRun(F), MEASURE } },
  );
  run(1);
  for (const slot of [slots.gate, slots.up]) scaleMeasured(p, slot);
  run(0);
  p.holdOperand(t.dgate, a.key, a.packed, true);
  p.holdOperand(t.dup, b.key, b.packed, true);
}
