import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import { Dyn, type Tensor } from '../tensor.js';
import { ARGS, common, matrixTune, operandBindings } from './matmul_matrix_kernels.js';
import { argToEdge, padding, toEdge, type MatrixWeight } from './operand_layout.js';
import { operand, operandRoom, scaleMeasured, UNWATCHED, WATCHED } from './pack_f16.js';

/*
 * Products of matmul_matrix.ts whose result is read by others of them alone: it leaves as their operand, times a factor. LoRA's inner states and their gradients are such, narrow beside all
 * that a product reads. Bits are those of the product in f32, `scale` and pack_f16.ts.
 */

/** Up to the edges of operands' tiles, where results are zero. */
function product(form: 'nt' | 'nn', measure = false): Kernel {
  const width = form === 'nt' ? 'count' : 'I';
  const { prelude, words } = common(form, undefined, { rows: 'packed_rows()', cols: argToEdge(width) });
  const gradient = form === 'nn';
  return defineKernel({
    name: `matmul.matrix_${form}_operand${measure ? '.measure' : ''}`,
    shader: 'matmul.matrix',
    matrices: true,
    snippets: { 'lib/result_f32': 'lib/result_operand' },
    read: operandBindings(undefined),
    ...(measure ? {} : { write: { packed: '_ :vec2<u32>' } }),
    ...(gradient ? { update: { peaks: 'K :atomic<u32>' } } : {}),
    args: { ...ARGS, W: 'u32', slot: 'u32', times: 'f32' },
    tune: { STORE: measure ? 0 : 1 },
    prelude: `${prelude}\nfn width() -> u32 { return args.${width}; }\n${gradient ? WATCHED : UNWATCHED}`,
    words,
    grid: (g) => (measure && !g['measure'] ? 0 : Math.ceil(toEdge(g['M']!, g['TILE']!) / g['BM']!) * Math.ceil(toEdge(g[width]!, g['TILE']!) / g['BN']!)),
  });
}

export const resultOperands = { forward: product('nt'), gradient: product('nn'), measure: product('nn', true) };

interface Inner { x: Tensor; w: MatrixWeight; y: Tensor; into: Tensor }

/** y = times · x·Wᵀ [M, O] as the operand of `slot`, in `into`; y itself is not written and stands as that alone. x [M, I]; W [O, I] has an f16 copy. */
export function matrixOperand(p: Program, { x, w, y, into }: Inner, slot: number, times: number): void {
  const { tile, scales } = p.operands!;
  const a = operand(p, x, w.slots.input, {});
  const { key, packed, stride } = operandRoom(p, y, slot, w.rows, { into });
  p.run(resultOperands.forward, { a: a.packed, b: w.packed.as([w.packed.elements]), scales, packed }, {
    M: x.shape[0]!, I: w.inner, Y: w.rows, first: 0, count: w.rows, sa: a.stride, sb: w.stride, slot_a: w.slots.input, slot_b: w.slots.weight, W: stride, slot, times,
  }, { tune: { ...matrixTune(resultOperands.forward, tile), ...padding(tile) } });
  p.holdOperand(y, key, packed, true);
}

/** y = times · dy·W [M, I], a gradient, likewise. dy [M, O]; W [O, I] has an f16 copy. */
export function matrixOperandGradient(p: Program, { x, w, y, into }: Inner, slot: number, times: number): void {
  const { tile, scales, peaks } = p.operands!;
  const a = operand(p, x, w.slots.gradient, { columns: w.rows, gradient: true });
  const { key, packed, stride } = operandRoom(p, y, slot, w.inner, { into });
  const read = { a: a.packed, b: w.packed.as([w.packed.elements]), scales, peaks: peaks! };
  const args = { M: x.shape[0]!, I: w.inner, Y: w.inner, first: 0, count: w.rows, sa: a.stride, sb: w.stride, slot_a: w.slots.gradient, slot_b: w.slots.weight, W: stride, slot, times };
  const tuned = (kernel: Kernel): { tune: Record<string, number> } => ({ tune: { ...matrixTune(kernel, tile), ...padding(tile) } });
  p.run(resultOperands.measure, read, { ...args, measure: new Dyn('measureScales', 0) }, tuned(resultOperands.measure));
  scaleMeasured(p, slot);
  p.run(resultOperands.gradient, { ...read, packed }, args, tuned(resultOperands.gradient));
  p.holdOperand(y, key, packed, true);
}
