import { defineKernel, type Kernel } from '../kernel.js';
import type { MatrixTile } from '../matrices.js';
import type { Program } from '../program.js';
import { Dyn, type Tensor } from '../tensor.js';
import { copyLoads } from './matmul_loads.js';
import { weightSide } from './matmul_matrix.js';
import { ARGS, common, frozenSuffix, matrixTune, operandBindings, perFrozen, type Frozen } from './matmul_matrix_kernels.js';
import { argToEdge, padded, padding, toEdge, type MatrixWeight } from './operand_layout.js';
import { operand, operandRoom, scaleMeasured, UNWATCHED, WATCHED, type Operand } from './pack_f16.js';
import { KIND, type Gate } from './swiglu.js';

/*
 * Products of matmul_matrix.ts with SwiGLU (or GeGLU) where their results leave: gate and up are one product, whose tiles are half of the one and half of the other, and what leaves is the
 * operand of the down projection; backward the gradient of that operand leaves as those of gate and up. Bits are those of the products in f32 with swiglu.ts behind them.
 */

/** Results go up to the edges of operands' tiles, where those are zero. */
const ROWS = 'packed_rows()';
const grid = ({ M, TILE, BM, BN }: Record<string, number>, F: number, each: number): number => Math.ceil(toEdge(M!, TILE!) / BM!) * Math.ceil((each * toEdge(F, TILE!)) / BN!);

/** The first half of a tile's columns are gate's outputs from n0 / 2 on, the second up's. */
const BOTH_LOADS = copyLoads(`let block = i / BLOCK;
  let r = block / ACROSS_B * 8u + block_row(i % BLOCK / (BLOCK / 8u));
  let at = operand_at(n0 / 2u + r % (BN / 2u), k0 / 8u + block % ACROSS_B * (BLOCK / 8u) + i % (BLOCK / 8u), args.sb);
  if (r < BN / 2u) { return b[at]; }
  return b_up[at];`);

/** @param keep whether gate and up are written too, for the backward pass */
function forward(keep: boolean): Kernel {
  const { prelude, words } = common('nt', undefined, { rows: ROWS, cols: `2u * (${argToEdge('F')})`, loads: BOTH_LOADS });
  return defineKernel({
    name: `matmul.matrix_nt_swiglu${keep ? '' : '.alone'}`,
    shader: 'matmul.matrix',
    matrices: true,
    snippets: { 'lib/result_f32': 'lib/result_swiglu.fwd' },
    read: { a: '_ :vec4<u32>', b: '_ :vec4<u32>', b_up: '_ :vec4<u32>', scales: 'K' },
    write: { packed: '_ :vec2<u32>', ...(keep ? { gate: 'M F :vec4f', up: 'M F :vec4f' } : {}) },
    args: { ...ARGS, F: 'u32', W: 'u32', slot: 'u32', slot_up: 'u32' },
    tune: { KIND: 0, KEEP: keep ? 1 : 0 },
    prelude: `${prelude}\n${UNWATCHED}`,
    words,
    grid: (g) => grid(g, g['F']!, 2),
  });
}

/** @param act whether the operand of the forward pass is made again too */
function backward(act: boolean, measure: boolean, of: Frozen): Kernel {
  const { prelude, words } = common('nn', of, { rows: ROWS, cols: argToEdge('I') });
  return defineKernel({
    name: `matmul.matrix_nn_swiglu${act ? '_act' : ''}${frozenSuffix(of)}${measure ? '.measure' : ''}`,
    shader: 'matmul.matrix',
    matrices: true,
    snippets: { 'lib/result_f32': 'lib/result_swiglu.bwd' },
    read: { ...operandBindings(of), gate: 'M I :vec4f', up: 'M I :vec4f' },
    ...(measure ? {} : { write: { packed_gate: '_ :vec2<u32>', packed_up: '_ :vec2<u32>', ...(act ? { packed_act: '_ :vec2<u32>' } : {}) } }),
    update: { peaks: 'K :atomic<u32>' },
    args: { ...ARGS, W: 'u32', slot: 'u32', slot_up: 'u32', slot_act: 'u32' },
    tune: { KIND: 0, ACT: act ? 1 : 0, STORE: measure ? 0 : 1 },
    prelude: `${prelude}\n${WATCHED}`,
    words,
    grid: (g) => (measure && !g['measure'] ? 0 : grid(g, g['I']!, 1)),
  });
}

export const swigluForward = { kept: forward(true), alone: forward(false) };
/** Of a frozen weight W has no gradient, for which act is made again. */
export const swigluBackwards = perFrozen((of) => ({ measure: backward(false, true, of), grads: backward(false, false, of), ...(of ? {} : { grads_act: backward(true, false, of) }) }));

/** The constants of either product for this gate. */
export const swigluTune = (kernel: Kernel, tile: MatrixTile, gate: Gate = 'silu'): Record<string, number> => ({ ...matrixTune(kernel, tile), ...padding(tile), KIND: KIND[gate] });

/** Can gate and up, F wide, be one product of weights with f16 copies: are there halves of a tile by fours? */
export const swigluInProduct = (t: MatrixTile, F: number): boolean => F % 4 === 0 && t.BN % 8 === 0;

/**
 * h = act(x·Wgᵀ)·(x·Wuᵀ) [M, F] as the operand of `slot`; h itself is not written and stands as that alone. Gate and up [M, F] are written where they are kept. x [M, I], both weights [F, I].
 */
export function matrixSwiglu(p: Program, t: { x: Tensor; gate: Tensor; up: Tensor; h: Tensor }, w: { gate: MatrixWeight; up: MatrixWeight }, slot: number, o: { gate?: Gate; keep: boolean }): void {
  const { tile, scales } = p.operands!;
  const { rows: F, inner, slots } = w.gate;
  const a = operand(p, t.x, slots.input, {});
  const { key, packed, stride } = operandRoom(p, t.h, slot, F, { busy: [a] });
  const kernel = swigluForward[o.keep ? 'kept' : 'alone'];
  p.run(kernel, { a: a.packed, b: w.gate.packed.as([w.gate.packed.elements]), b_up: w.up.packed.as([w.up.packed.elements]), scales, packed, ...(o.keep ? { gate: t.gate, up: t.up } : {}) }, {
    M: t.x.shape[0]!, I: inner, Y: F, F, W: stride, first: 0, count: 2 * F, sa: a.stride, sb: padded(inner, tile) / 8, slot_a: slots.input, slot_b: slots.weight, slot_up: w.up.slots.weight, slot,
  }, { tune: swigluTune(kernel, tile, o.gate) });
  p.holdOperand(t.h, key, packed, true);
}

/**
 * With dh = dy·W: dgate = dh·up·act'(gate) and dup = dh·act(gate) [M, F] as operands of their slots, and where `h` is given act(gate)·up as the one that W's own gradient multiplies; none of the
 * three is written otherwise, dh not at all. dy [M, O], W [O, F], gate, up [M, F].
 */
export function matrixSwigluBackward(p: Program, t: { dy: Tensor; gate: Tensor; up: Tensor; dgate: Tensor; dup: Tensor; h?: Tensor | undefined }, w: MatrixWeight, slots: { gate: number; up: number }, gate: Gate = 'silu'): void {
  const { tile, scales, peaks } = p.operands!;
  const F = w.inner;
  const a = operand(p, t.dy, w.slots.gradient, { columns: w.rows, gradient: true });
  const { of, bound } = weightSide(p, w, { first: 0, count: w.rows });
  const busy: Operand[] = [a];
  const room = (x: Tensor, slot: number): ReturnType<typeof operandRoom> => {
    const made = operandRoom(p, x, slot, F, { busy });
    busy.push(made);
    return made;
  };
  const [dgate, dup] = [room(t.dgate, slots.gate), room(t.dup, slots.up)];
  const h = t.h && room(t.h, w.slots.input);
  const args = {
    M: t.dy.shape[0]!, I: F, Y: F, W: dgate.stride, first: 0, count: w.rows, sa: a.stride, sb: padded(F, tile) / 8, slot_a: w.slots.gradient, slot_b: w.slots.weight,
    slot: slots.gate, slot_up: slots.up, slot_act: w.slots.input,
  };
  const read = { a: a.packed, ...bound, scales, gate: t.gate, up: t.up, peaks: peaks! };
  const { measure, grads, grads_act } = swigluBackwards(of) as Record<'measure' | 'grads' | 'grads_act', Kernel>;
  p.run(measure, read, { ...args, measure: new Dyn('measureScales', 0) }, { tune: swigluTune(measure, tile, gate) });
  for (const slot of [slots.gate, slots.up]) scaleMeasured(p, slot);
  const kernel = h ? grads_act : grads;
  p.run(kernel, { ...read, packed_gate: dgate.packed, packed_up: dup.packed, ...(h ? { packed_act: h.packed } : {}) }, args, { tune: swigluTune(kernel, tile, gate) });
  p.holdOperand(t.dgate, dgate.key, dgate.packed, true);
  p.holdOperand(t.dup, dup.key, dup.packed, true);
  if (h) p.holdOperand(t.h!, h.key, h.packed, true);
}
