import { EdpoError } from '../errors.js';
import type { Gpu } from './device.js';
import { capacityOf, type Extent, type Tensor } from './tensor.js';
import { expandShader, unroll } from './wgsl.js';

export type ArgType = 'u32' | 'i32' | 'f32';

/** What `grid` may use: letters and arguments of this dispatch, tunables, and `SG`, the most lanes that sum a row (`gpu.rowLanes`). */
export type GridInputs = Record<string, number>;

/**
 * A kernel, declared once. Bindings are `'LETTERS[:type]'`, axes apart by spaces, products by `*`: `'N H*C'`, `'S :u32'`,
 * `'N D :vec4f'`. The WGSL of bindings, arguments and tunables is generated from here, so a shader file holds
 * only its algorithm; its entry point is the file's stem with dots as underscores.
 */
export interface KernelSpec {
  name: string;
  /** Shader stem if it is not `name`. */
  shader?: string;
  read?: Record<string, string>;
  write?: Record<string, string>;
  /** Read and written in place: accumulations, state. */
  update?: Record<string, string>;
  /** In this order, passed as immediates: at most 16 words. */
  args?: Record<string, ArgType>;
  /** Constants compiled into the shader; `run` may override them. */
  tune?: Record<string, number>;
  /** Extra WGSL put before the shader (a loss body). */
  prelude?: string;
  /** Snippets of the shader that another takes the place of, by name. */
  snippets?: Record<string, string>;
  /** Uses f16 subgroup matrices (src/gpu/matrices.ts). */
  matrices?: boolean;
  /** Buffers it may bind where not every adapter has so many: what records it asks for `gpu.limits.storageBuffers`. */
  mostBindings?: number;
  /** Words of the shader that WGSL allows no constant for (`row_major`, say), and what stands in their place. */
  words?: Record<string, string>;
  grid: (g: GridInputs) => number;
}

export interface Binding {
  name: string;
  axes: string[];
  wgslType: string;
  access: 'read' | 'write' | 'update';
}

export interface Kernel extends KernelSpec {
  bindings: Binding[];
}

/** Checks and completes a declaration. */
export function defineKernel(spec: KernelSpec): Kernel {
  const bindings: Binding[] = [];
  for (const access of ['read', 'write', 'update'] as const) {
    for (const [name, text] of Object.entries(spec[access] ?? {})) {
      const [shape, type] = text.split(':') as [string, string?];
      bindings.push({ name, axes: shape.trim().split(/\s+/), wgslType: (type ?? 'f32').trim(), access });
    }
  }
  const most = spec.mostBindings ?? 10;
  if (bindings.length > most) throw new EdpoError(`${spec.name} binds ${bindings.length} buffers; adapters allow ${most}`);
  if (Object.keys(spec.args ?? {}).length > 16) throw new EdpoError(`${spec.name} has more than 16 arguments (64 bytes)`);
  return { ...spec, bindings };
}

const constant = (name: string, value: number): string =>
  Number.isInteger(value) && !name.startsWith('F_') ? `const ${name} = ${value}u;` : `const ${name} = f32(${value});`;

/** The whole WGSL of a kernel for this device; `tune` overrides the declared tunables. */
export function kernelSource(gpu: Gpu, kernel: Kernel, tune: Record<string, number>, prelude = ''): string {
  const lines: string[] = [];
  const f16 = kernel.matrices || kernel.bindings.some((b) => b.wgslType.includes('f16'));
  if (gpu.subgroups) lines.push('enable subgroups;');
  if (f16) lines.push('enable f16;');
  if (kernel.matrices) lines.push('enable chromium_experimental_subgroup_matrix;');
  if (kernel.matrices && gpu.features.has('subgroup-size-control')) lines.push('enable subgroup_size_control;');
  lines.push('requires immediate_address_space;');
  lines.push('diagnostic(off, subgroup_uniformity);');
  if (kernel.matrices) lines.push('diagnostic(off, chromium.subgroup_matrix_uniformity);');
  const constants = { ...kernel.tune, ...tune };
  for (const [name, value] of Object.entries(constants)) lines.push(constant(name, value));
  const args = Object.entries(kernel.args ?? {});
  if (args.length > 0) {
    lines.push('struct Args {', ...args.map(([name, type]) => `  ${name}: ${type},`), '}', 'var<immediate> args: Args;');
  }
  kernel.bindings.forEach((b, i) => {
    const access = b.access === 'read' ? 'read' : 'read_write';
    lines.push(`@group(0) @binding(${i}) var<storage, ${access}> ${b.name}: array<${b.wgslType}>; // ${b.axes.join(' ')}`);
  });
  const stem = kernel.shader ?? kernel.name;
  let body = unroll(expandShader(stem, { ...(gpu.rowLanes > 1 ? {} : { 'lib/rows': 'lib/rows_serial' }), ...kernel.snippets }), constants);
  for (const [word, text] of Object.entries({ ...kernel.words, ENTRY: entryPoint(stem), ...(kernel.matrices ? { '@SUBGROUP': fixedSubgroup(gpu) } : {}) })) body = body.replaceAll(word, text);
  return `${lines.join('\n')}\n${kernel.prelude ?? ''}\n${prelude}\n${body}`;
}

/** Attribute that holds an entry point to subgroups of `SG` where the adapter would choose among sizes. */
const fixedSubgroup = (gpu: Gpu): string => (gpu.features.has('subgroup-size-control') ? '@subgroup_size(SG)' : '');

export const entryPoint = (stem: string): string => stem.split('/').at(-1)!.replaceAll('.', '_');

export interface CompiledKernel {
  layout: GPUBindGroupLayout;
  pipeline: Promise<GPUComputePipeline>;
}

/** Layout at once, pipeline as a promise: all pipelines of a program compile in parallel. Cached by WGSL text. */
export function compileKernel(gpu: Gpu, kernel: Kernel, tune: Record<string, number>, prelude = ''): CompiledKernel {
  const code = kernelSource(gpu, kernel, tune, prelude);
  const known = gpu.pipelines.get(code) as CompiledKernel | undefined;
  if (known) return known;
  if (process.env['EDPO_WGSL'] === kernel.name) process.stderr.write(`${code}\n`);
  const { device } = gpu;
  const layout = device.createBindGroupLayout({
    label: kernel.name,
    entries: kernel.bindings.map((b, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: b.access === 'read' ? 'read-only-storage' : 'storage' },
    })),
  });
  const words = Object.keys(kernel.args ?? {}).length;
  const pipelineLayout = device.createPipelineLayout({
    label: kernel.name,
    bindGroupLayouts: [layout],
    ...(words > 0 ? { immediateSize: words * 4 } : {}),
  } as GPUPipelineLayoutDescriptor);
  const module = device.createShaderModule({ label: kernel.name, code });
  const pipeline = device.createComputePipelineAsync({
    label: kernel.name,
    layout: pipelineLayout,
    compute: { module, entryPoint: entryPoint(kernel.shader ?? kernel.name) },
  }).catch(async (cause: unknown) => {
    const messages = (await module.getCompilationInfo()).messages.map((m) => `  line ${m.lineNum}: ${m.message}`);
    throw new EdpoError([`${kernel.name} does not compile: ${String(cause)}`, ...messages].join('\n'), {
      hint: `EDPO_WGSL=${kernel.name} prints the whole shader`,
      cause,
    });
  });
  gpu.compilation.track(pipeline); // a failure is reported where it is awaited
  const compiled = { layout, pipeline };
  gpu.pipelines.set(code, compiled);
  return compiled;
}

/**
 * Solves the letters of a kernel from the shapes of the tensors it is given (`given` holds letters that are
 * arguments). A contradiction is an error with names and numbers.
 */
export function solveLetters(
  kernel: Kernel,
  tensors: Record<string, Tensor>,
  given: Record<string, Extent>,
): Record<string, Extent> {
  const letters: Record<string, Extent> = { ...given };
  const source: Record<string, string> = {};
  const products: Array<{ binding: string; axis: string; extent: Extent; tensor: Tensor }> = [];
  for (const b of kernel.bindings) {
    const tensor = tensors[b.name];
    if (!tensor) throw new EdpoError(`${kernel.name}: binding ${b.name} [${b.axes.join(' ')}] got no tensor`);
    if (b.axes.length !== tensor.shape.length) {
      throw new EdpoError(`${kernel.name}: ${b.name} is [${b.axes.join(' ')}] but got ${tensor.describe()}`);
    }
    b.axes.forEach((axis, i) => {
      const extent = tensor.shape[i]!;
      if (axis === '_') return;
      if (!/^[A-Za-z]\w*$/.test(axis)) {
        products.push({ binding: b.name, axis, extent, tensor });
        return;
      }
      const known = letters[axis];
      if (known === undefined) {
        letters[axis] = extent;
        source[axis] = `${b.name}: ${tensor.describe()}`;
      } else if (capacityOf(known) !== capacityOf(extent)) {
        throw new EdpoError(
          `${kernel.name}: ${b.name} gives ${axis}=${capacityOf(extent)} but ${source[axis] ?? 'its argument'} gives ${axis}=${capacityOf(known)} (${b.name}: ${tensor.describe()})`,
        );
      }
    });
  }
  for (const { binding, axis, extent, tensor } of products) {
    const value = axis.split('*').reduce((n, factor) => n * (/^\d+$/.test(factor) ? Number(factor) : capacityOf(letters[factor] ?? NaN)), 1);
    if (value !== capacityOf(extent)) {
      throw new EdpoError(`${kernel.name}: ${binding} wants ${axis}=${value} but got ${tensor.describe()}`);
    }
  }
  return letters;
}
