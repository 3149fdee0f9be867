import type { Gpu } from '../src/gpu/device.js';
import { patiently } from '../src/gpu/patience.js';
import { blockShapes, LAYER_NORM_EPS, type BlockCase, type Job, type Named, type ProductCase, type System } from './peers_js_case.js';

type Operand = TfTensor | number;
interface TfTensor { data(): Promise<Float32Array>; dispose(): void }
/** What the WebGPU backend keeps of the commands it has not submitted yet. */
interface Backend { device: GPUDevice; queue: GPUQueue; commandEncoder: GPUCommandEncoder | null; endComputePassEncoder(): void; submitQueue(): void }
/** As much of @tensorflow/tfjs as is called here. */
interface Tf {
  setBackend(name: 'webgpu'): Promise<boolean>;
  backend(): Backend;
  tensor(data: Float32Array, shape: number[]): TfTensor;
  tidy<T>(f: () => T): T;
  valueAndGrads(f: (...t: TfTensor[]) => TfTensor): (t: TfTensor[], dy: TfTensor) => { value: TfTensor; grads: TfTensor[] };
  matMul(a: TfTensor, b: TfTensor, transposeA?: boolean, transposeB?: boolean): TfTensor;
  moments(x: TfTensor, axis: number, keepDims: boolean): { mean: TfTensor; variance: TfTensor };
  split(x: TfTensor, parts: number, axis: number): TfTensor[];
  reshape(x: TfTensor, shape: number[]): TfTensor;
  transpose(x: TfTensor, axes: number[]): TfTensor;
  softmax(x: TfTensor): TfTensor;
  tanh(x: TfTensor): TfTensor;
  rsqrt(x: TfTensor): TfTensor;
  add(a: Operand, b: Operand): TfTensor;
  sub(a: Operand, b: Operand): TfTensor;
  mul(a: Operand, b: Operand): TfTensor;
}

/** TensorFlow.js by its own matrix products, softmax and gradients; what it has no function for (LayerNorm, GELU's tanh form) by the operations it has. `gpu` says how to wait. */
export async function tfjsSystem(gpu: Gpu, library: unknown, version: string): Promise<System> {
  const tf = library as Tf;
  if (!(await tf.setBackend('webgpu'))) throw new Error('tfjs did not open the adapter');
  const backend = tf.backend();

  function eager(body: () => TfTensor[], inputs: TfTensor[], names: string[]): Job {
    let last: TfTensor[] = [];
    const drop = (): void => last.splice(0).forEach((x) => x.dispose());
    return {
      async run(repeats) {
        for (let i = 0; i < repeats; i++) {
          drop();
          last = tf.tidy(body);
        }
        if (backend.commandEncoder) {
          backend.endComputePassEncoder();
          backend.submitQueue();
        }
        await patiently(gpu, backend.queue.onSubmittedWorkDone());
      },
      async results() {
        const found: Named = {};
        for (const [i, name] of names.entries()) found[name] = await patiently(gpu, last[i]!.data());
        return found;
      },
      destroy() {
        drop();
        inputs.forEach((x) => x.dispose());
      },
    };
  }

  function product({ form, M, O, I }: ProductCase, inputs: Named): Job {
    const [x, w, dy] = [tf.tensor(inputs['x']!, [M, I]), tf.tensor(inputs['w']!, [O, I]), tf.tensor(inputs['dy']!, [M, O])];
    return eager(() => [form === 'nt' ? tf.matMul(x, w, false, true) : form === 'nn' ? tf.matMul(dy, w) : tf.matMul(dy, x, true)], [x, w, dy], ['y']);
  }

  function block(c: BlockCase, inputs: Named): Job {
    const { B, T, D, H } = c;
    const [N, C] = [B * T, D / H];
    const shapes = blockShapes(c);
    const mask = tf.tensor(Float32Array.from({ length: T * T }, (_, i) => (i % T > Math.floor(i / T) ? -1e9 : 0)), [T, T]);
    const norm = (x: TfTensor, gain: TfTensor, bias: TfTensor): TfTensor => {
      const { mean, variance } = tf.moments(x, -1, true);
      return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, LAYER_NORM_EPS))), gain), bias);
    };
    const gelu = (x: TfTensor): TfTensor => tf.mul(tf.mul(x, 0.5), tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.mul(x, tf.mul(x, x))))))));
    const output = (...t: TfTensor[]): TfTensor => {
      const [x, gain1, bias1, wQkv, bQkv, wO, bO, gain2, bias2, wUp, bUp, wDown, bDown, gainF, biasF] = t as [TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor, TfTensor];
      const heads = tf.split(tf.add(tf.matMul(norm(x, gain1, bias1), wQkv), bQkv), 3, -1);
      const [q, k, v] = heads.map((part) => tf.transpose(tf.reshape(part, [B, T, H, C]), [0, 2, 1, 3])) as [TfTensor, TfTensor, TfTensor];
      const seen = tf.softmax(tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(C)), mask));
      const o = tf.reshape(tf.transpose(tf.matMul(seen, v), [0, 2, 1, 3]), [N, D]);
      const mid = tf.add(tf.add(tf.matMul(o, wO), bO), x);
      const act = gelu(tf.add(tf.matMul(norm(mid, gain2, bias2), wUp), bUp));
      return norm(tf.add(tf.add(tf.matMul(act, wDown), bDown), mid), gainF, biasF);
    };
    const names = ['x', ...Object.keys(shapes)];
    const primals = names.map((name) => tf.tensor(inputs[name]!, shapes[name] ?? [N, D]));
    const dy = tf.tensor(inputs['dy']!, [N, D]);
    const step = tf.valueAndGrads(output);
    const body = (): TfTensor[] => {
      if (!c.backward) return [output(...primals)];
      const { value, grads } = step(primals, dy);
      return [value, ...grads];
    };
    return eager(body, [...primals, dy, mask], ['y', ...(c.backward ? names.map((name) => `d ${name}`) : [])]);
  }

  return { name: 'tfjs', version, product, block, close: () => backend.device.destroy() };
}
