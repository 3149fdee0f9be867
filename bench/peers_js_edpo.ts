import type { Gpu } from '../src/gpu/device.js';
import { matmulNN, matmulNT, matmulTN } from '../src/gpu/ops/matmul.js';
import { patiently } from '../src/gpu/patience.js';
import { Program, type StepValues } from '../src/gpu/program.js';
import { debugRead } from '../src/gpu/readback.js';
import { Tensor } from '../src/gpu/tensor.js';
import { Activations, BackwardScratch } from '../src/model/activations.js';
import { pack, type PackedBatch } from '../src/model/batch/pack.js';
import { batchAxes, BatchTensors } from '../src/model/batch/tensors.js';
import { modelSpec } from '../src/model/families/index.js';
import type { ModelSpec, ParameterSpec } from '../src/model/families/spec.js';
import { Parameters } from '../src/model/parameters.js';
import { forward } from '../src/model/transformer.js';
import { backward } from '../src/model/transformer_backward.js';
import { blockShapes, LAYER_NORM_EPS, type BlockCase, type Job, type Named, type ProductCase, type System } from './peers_js_case.js';

/** edpo's own kernels in f32, on a device that is open. */
export function edpoSystem(gpu: Gpu, version: string): System {
  return { name: 'edpo', version, product: (c, inputs) => product(gpu, c, inputs), block: (c, inputs) => block(gpu, c, inputs), close: () => gpu.close() };
}

/** A recorded program, replayed. */
function replayed(gpu: Gpu, p: Program, values: StepValues, results: () => Promise<Named>, destroy: () => void): Job {
  return {
    async run(repeats) {
      await p.ready();
      const encoder = gpu.device.createCommandEncoder({ label: p.label });
      for (let i = 0; i < repeats; i++) p.encode(encoder, values);
      gpu.device.queue.submit([encoder.finish()]);
      await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
      gpu.check();
    },
    results,
    destroy,
  };
}

function product(gpu: Gpu, { form, M, O, I }: ProductCase, inputs: Named): Job {
  const [x, w, dy] = [new Tensor(gpu, 'x', [M, I]), new Tensor(gpu, 'w', [O, I]), new Tensor(gpu, 'dy', [M, O])];
  const y = new Tensor(gpu, form, form === 'nt' ? [M, O] : form === 'nn' ? [M, I] : [O, I]);
  for (const [tensor, name] of [[x, 'x'], [w, 'w'], [dy, 'dy']] as const) tensor.write(inputs[name]!);
  const p = new Program(gpu, `matmul ${form}`);
  if (form === 'nt') matmulNT(p, { x, w, y });
  else if (form === 'nn') matmulNN(p, { x: dy, w, y });
  else {
    // A gradient is added to what is there.
    p.clear(y);
    matmulTN(p, { a: dy, b: x, y });
  }
  return replayed(gpu, p, {}, async () => ({ y: await debugRead(y) }), () => [x, w, dy, y].forEach((t) => t.destroy()));
}

/** One layer of GPT-2 and its last norm. The embedding is x itself, row i being token i, without positions: looking rows up copies them, and its gradient is x's. */
export const blockSpec = ({ B, T, D, H, F }: BlockCase): ModelSpec => {
  const spec = modelSpec({ model_type: 'gpt2', n_embd: D, n_layer: 1, n_head: H, n_inner: F, n_positions: T, vocab_size: B * T, layer_norm_epsilon: LAYER_NORM_EPS }, 'bench');
  const { positions: _, ...names } = spec.names;
  return { ...spec, names };
};

/** Every sequence a prompt, and every row's state asked for. */
function blockBatch({ B, T }: BlockCase): PackedBatch {
  const batch = pack(Array.from({ length: B }, (_, b) => ({ id: b, prompt: Array.from({ length: T }, (_, t) => b * T + t), branches: [] })));
  const rows = Uint32Array.from({ length: B * T + 1 }, (_, i) => i);
  return { ...batch, src: rows.subarray(0, B * T), gatherOffsets: rows, gatherList: rows.subarray(0, B * T), values: { ...batch.values, S: B * T } };
}

const shortName = (name: string): string => (name === 'transformer.wte.weight' ? 'x' : name.replace(/^transformer\.(h\.0\.)?/, ''));

/** Where element (row, column) of one of edpo's tensors lies in the block's tensors: their name and index. */
function place(spec: ModelSpec, p: Pick<ParameterSpec, 'name' | 'shape'>): { name: string; at: (row: number, column: number) => number } {
  const stored = spec.stored?.[p.name];
  const width = p.shape[1] ?? 1;
  if (!stored) return { name: shortName(p.name), at: (r, c) => r * width + c };
  return { name: shortName(stored.name), at: (r, c) => (stored.transposed ? c * stored.rows + stored.first + r : (stored.first + r) * width + c) };
}

function block(gpu: Gpu, c: BlockCase, inputs: Named): Job {
  const N = c.B * c.T;
  const spec = blockSpec(c);
  const parameters = new Parameters(gpu, spec, true, 'block');
  for (const parameter of parameters.list) {
    const { name, at } = place(spec, parameter);
    const width = parameter.shape[1] ?? 1;
    for (const { first, value } of parameter.pieces) value.write(Float32Array.from({ length: value.elements }, (_, i) => inputs[name]![at(first + Math.floor(i / width), i % width)]!));
  }
  const axes = batchAxes({ rows: N, sequences: c.B });
  const batch = new BatchTensors(gpu, axes);
  const packed = blockBatch(c);
  const encoder = gpu.device.createCommandEncoder();
  batch.upload(encoder, packed);
  gpu.device.queue.submit([encoder.finish()]);
  const acts = new Activations(gpu, spec, axes, 'train');
  const parts = { spec, parameters, batch, acts };
  const p = new Program(gpu, 'block');
  const scratch = c.backward ? new BackwardScratch(gpu, spec, axes) : undefined;
  if (scratch) for (const grad of parameters.gradients) p.clear(grad);
  forward(p, parts);
  if (scratch) {
    scratch.dHidden.write(inputs['dy']!);
    backward(p, parts, scratch);
  }
  const results = async (): Promise<Named> => {
    const found: Named = { y: await debugRead(acts.hidden, N * c.D) };
    if (!scratch) return found;
    const sizes = { x: [N, c.D], ...blockShapes(c) };
    for (const [name, shape] of Object.entries(sizes)) found[`d ${name}`] = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (const parameter of parameters.list) {
      const { name, at } = place(spec, parameter);
      const width = parameter.shape[1] ?? 1;
      (await parameters.read(parameter.name, 'grad')).forEach((v, i) => (found[`d ${name}`]![at(Math.floor(i / width), i % width)] = v));
    }
    return found;
  };
  return replayed(gpu, p, packed.values, results, () => [parameters, batch, acts, scratch].forEach((held) => held?.destroy()));
}
