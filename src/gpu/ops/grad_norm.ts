import { perRow } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { ArgValue, Program } from '../program.js';
import { Tensor } from '../tensor.js';

/** Elements that one subgroup sums: a multiple of 4, fixed, so that a sum does not depend on anything but its terms and the adapter's subgroups. */
export const PARTIAL_BLOCK = 4096;

/** Partial sums a tensor of so many elements leaves: one for each block of PARTIAL_BLOCK. */
export const partialSlots = (elements: number): number => Math.ceil(elements / PARTIAL_BLOCK);

/** Gradients of one dispatch: each has two of the 16 arguments. */
const GROUP = 8;

const numbered = <T>(count: number, name: string, value: (i: number) => T): Record<string, T> => Object.fromEntries(Array.from({ length: count }, (_, i) => [`${name}_${i}`, value(i)]));

/** Partial sums of `count` gradients. */
const partialOf = (count: number): Kernel => defineKernel({
  name: `grad_norm.partial${count > 1 ? `_${count}` : ''}`,
  shader: 'grad_norm.partial',
  read: numbered(count, 'grad', (i) => `E_${i} :vec4f`),
  update: { partials: 'K' },
  args: { ...numbered(count, 'E', () => 'u32' as const), ...numbered(count, 'slot', () => 'u32' as const) },
  tune: { WG: 64, BLOCK: PARTIAL_BLOCK, COUNT: count },
  grid: ({ WG, SG, ...sizes }) => perRow(Array.from({ length: count }, (_, i) => partialSlots(sizes[`E_${i}`]!)).reduce((a, b) => a + b), WG!, SG!),
});
const partial = Array.from({ length: GROUP }, (_, i) => partialOf(i + 1));

/** The same of gradients that are parts of one tensor, from a table of their blocks. */
const arena = defineKernel({
  name: 'grad_norm.arena',
  read: { grad_0: 'E :vec4f', table: 'B 3 :u32' },
  update: { partials: 'K' },
  args: { B: 'u32' },
  tune: { WG: 64, BLOCK: PARTIAL_BLOCK, COUNT: 1 },
  grid: ({ B, WG, SG }) => perRow(B!, WG!, SG!),
});

/**
 * Global norm, clip coefficient, finite check, step skip and Adam's t, all on the GPU. `step_state` [16]: 0 gradient norm, 1 clip
 * coefficient, 2 skip flag, 3 t, 4 = 1-beta1^t, 5 = 1-beta2^t, 6 skipped steps. A skipped step moves only 0, 1, 2 and 6.
 */
export const state = defineKernel({
  name: 'step_state.update',
  read: { partials: 'K' },
  update: { step_state: '16' },
  args: { K: 'u32', maxNorm: 'f32', beta1: 'f32', beta2: 'f32', oneMinusBeta1: 'f32', oneMinusBeta2: 'f32' },
  tune: { WG: 64 },
  grid: ({ WG, SG }) => perRow(1, WG!, SG!),
});

/** Partial sums that `gradNorm` leaves of these gradients. */
export const gradNormSlots = (grads: Tensor[]): number => grads.reduce((n, g) => n + partialSlots(g.elements), 0);

/** Bytes of the tables `gradNorm` makes, for gradients of so many elements that are parts of others. */
export const gradNormTable = (elements: number[]): number => elements.reduce((n, e) => n + 12 * partialSlots(e), 0);

/** A gradient with the first of its partial sums. */
interface Summed { grad: Tensor; slot: number }

/**
 * Partial sums of the squares of all gradients into `partials` [gradNormSlots]: one dispatch for all that are parts of one tensor, and for eight others. Each sum is of
 * one gradient's block, and stands in that gradient's place in the list, so that the norm has the same bits however the gradients lie.
 */
export function gradNorm(p: Program, t: { grads: Tensor[]; partials: Tensor }): void {
  let next = 0;
  const all = t.grads.map((grad): Summed => ({ grad, slot: (next += partialSlots(grad.elements)) - partialSlots(grad.elements) }));
  const [inArenas, size] = p.gpu.uses('grad_norm_grouped') ? [all.filter(({ grad }) => grad.whole), GROUP] : [[], 1];
  for (const whole of new Set(inArenas.map(({ grad }) => grad.whole!))) {
    const rows = inArenas.filter(({ grad }) => grad.whole === whole).flatMap(({ grad, slot }) => Array.from({ length: partialSlots(grad.elements) }, (_, k) => {
      const from = k * PARTIAL_BLOCK;
      return [grad.place.offset / 16 + from / 4, Math.min(PARTIAL_BLOCK, grad.elements - from), slot + k];
    }));
    const table = new Tensor(p.gpu, `${whole.label} blocks`, [rows.length, 3], 'u32');
    table.write(Uint32Array.from(rows.flat()));
    p.run(arena, { grad_0: whole.flat(), table, partials: t.partials });
  }
  const others = all.filter((x) => !inArenas.includes(x));
  for (let at = 0; at < others.length; at += size) {
    const group = others.slice(at, at + size);
    p.run(partial[group.length - 1]!, { ...numbered(group.length, 'grad', (i) => group[i]!.grad.flat()), partials: t.partials }, numbered(group.length, 'slot', (i) => group[i]!.slot));
  }
}

export function stepState(
  p: Program,
  t: { partials: Tensor; stepState: Tensor },
  args: { maxNorm: ArgValue; beta1: ArgValue; beta2: ArgValue; oneMinusBeta1: ArgValue; oneMinusBeta2: ArgValue },
): void {
  p.run(state, { partials: t.partials, step_state: t.stepState }, args);
}
