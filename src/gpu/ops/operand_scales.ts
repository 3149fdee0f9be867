import { perRow } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { formatOf } from '../packed.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { perFormat, weightBindings, weightCode, weightTensors } from './weights.js';

/**
 * The loss scale: the magnitude that the largest element of a gradient operand is brought to at most, before it is rounded to f16. It starts at 2^12, which leaves room
 * for a gradient 15 times as large as any of late; halves where a step is not finite, doubles after 2,000 clean steps, up to 2^14.
 */
export const LOSS_SCALE = { start: 4096, lowest: 1, highest: 16384, patience: 2000 };

/** Magnitudes seen are forgotten by this factor a step. */
const DECAY = 0.99;

const update = defineKernel({
  name: 'operand_scales.update',
  read: { step_state: '16' },
  update: { scales: 'K', running: 'K', peaks: 'K :u32', loss_scale: '4' },
  args: { K: 'u32', first: 'u32' },
  tune: { WG: 64 },
  prelude: `const F_LOWEST = ${LOSS_SCALE.lowest}.0;\nconst F_HIGHEST = ${LOSS_SCALE.highest}.0;\nconst F_PATIENCE = ${LOSS_SCALE.patience}.0;\nconst F_DECAY = ${DECAY};`,
  grid: () => 1,
});

/** After a step: loss scale, running maxima and scales of the slots from `first` on. */
export function updateOperandScales(p: Program, t: { stepState: Tensor; scales: Tensor; running: Tensor; peaks: Tensor; lossScale: Tensor }, first: number): void {
  p.run(update, { step_state: t.stepState, scales: t.scales, running: t.running, peaks: t.peaks, loss_scale: t.lossScale }, { first });
}

const bounds = perFormat((format): Kernel => defineKernel({
  name: `weight_bounds${format === 'f32' ? '' : `.${format}`}`,
  shader: 'weight_bounds',
  read: { ...weightBindings('w', 'O I', format), g: 'I', b: 'I' },
  update: { bounds: 'K :atomic<u32>' },
  args: { O: 'u32', I: 'u32', slot: 'u32', offset: 'f32', biased: 'f32' },
  tune: { WG: 64 },
  prelude: weightCode('w', format),
  grid: ({ O, WG, SG }) => perRow(O!, WG!, SG!),
}));

/** bounds[slot] = max(…, |w|), bounds[slot + 1] = max(…, what w can make of the norm's output), of a matrix or a piece of one. */
export function weightBounds(p: Program, t: { w: Tensor; gain: Tensor; bias?: Tensor | undefined; bounds: Tensor }, slot: number, offset: number): void {
  p.run(bounds[formatOf(t.w)], { ...weightTensors('w', t.w), g: t.gain, b: t.bias ?? t.gain, bounds: t.bounds }, { slot, offset, biased: t.bias ? 1 : 0 });
}
