import { defineKernel, type Kernel, type KernelSpec } from '../kernel.js';
import { scalar, type ArgValue } from '../program.js';
import type { Tensor } from '../tensor.js';

/** How a trained value lies on the GPU: f32, or pairs of bf16 written with stochastic rounding. */
export type MasterFormat = 'f32' | 'bf16';

export const masterOf = (value: Tensor): MasterFormat => (value.type === 'u32' ? 'bf16' : 'f32');

/** A kernel that updates `value` in both formats; its shader reads and writes by `read_value` and `write_value`, PER elements a thread. */
export function masterKernels(spec: KernelSpec): Record<MasterFormat, Kernel> {
  const make = (format: MasterFormat): Kernel => defineKernel({
    ...spec,
    name: `${spec.name}${format === 'bf16' ? '_bf16' : ''}`,
    shader: spec.shader ?? spec.name,
    update: { value: format === 'bf16' ? 'W :u32' : 'E', ...spec.update },
    args: { ...spec.args, ...(format === 'bf16' ? { step_key: 'u32', tensor: 'u32' } : {}) },
    snippets: { 'lib/master_f32': `lib/master_${format}`, ...spec.snippets },
  });
  return { f32: make('f32'), bf16: make('bf16') };
}

/** Arguments of the rounding: the step's number (design 10: nothing but keys), and the tensor's. */
export const roundingArgs = (value: Tensor, tensor: number): Record<string, ArgValue> =>
  masterOf(value) === 'bf16' ? { step_key: scalar('stepKey'), tensor } : {};
