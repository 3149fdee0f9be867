import type { Gpu } from '../src/gpu/device.js';
import { patiently } from '../src/gpu/patience.js';
import { blockShapes, LAYER_NORM_EPS, type BlockCase, type Job, type Named, type ProductCase, type System } from './peers_js_case.js';

/** As much of @jax-js/jax as is called here. An operation takes its arrays away; `.ref` keeps one for another use. */
interface JaxArray {
  ref: JaxArray;
  add(x: JaxArray): JaxArray;
  mul(x: JaxArray): JaxArray;
  reshape(shape: number[]): JaxArray;
  transpose(): JaxArray;
  data(): Promise<Float32Array>;
  blockUntilReady(): Promise<unknown>;
  dispose(): void;
}
type Call = (...inputs: JaxArray[]) => JaxArray[];
interface Jax {
  init(device: 'webgpu'): Promise<string[]>;
  defaultDevice(device: 'webgpu'): void;
  getWebGPUDevice(): GPUDevice;
  jit(f: Call): Call & { dispose(): void };
  vjp(f: (...inputs: JaxArray[]) => JaxArray, inputs: JaxArray[]): [JaxArray, ((dy: JaxArray) => JaxArray[]) & { dispose(): void }];
  numpy: { array(data: Float32Array): JaxArray; matmul(a: JaxArray, b: JaxArray): JaxArray; split(x: JaxArray, parts: number, axis: number): JaxArray[] };
  nn: {
    standardize(x: JaxArray, axis: number, o: { epsilon: number }): JaxArray;
    gelu(x: JaxArray, o: { approximate: boolean }): JaxArray;
    dotProductAttention(q: JaxArray, k: JaxArray, v: JaxArray, o: { isCausal: boolean }): JaxArray;
  };
}

/** Iterator helpers, which the library's einsum calls and Node has from 22 on. */
function iteratorHelpers(): void {
  const iterator = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as object;
  for (const name of ['map', 'filter', 'flatMap'] as const) {
    if (name in iterator) continue;
    Object.defineProperty(iterator, name, { configurable: true, value(this: Iterable<unknown>, f: (x: unknown) => unknown) { return ([...this] as unknown as Record<string, (f: (x: unknown) => unknown) => unknown>)[name]!(f); } });
  }
}

/** jax-js under `jit`, by its own functions for norms, GELU and attention. `gpu` says how to wait. */
export async function jaxSystem(gpu: Gpu, library: unknown, version: string): Promise<System> {
  const jax = library as Jax;
  iteratorHelpers();
  if (!(await jax.init('webgpu')).includes('webgpu')) throw new Error('jax-js did not open the adapter');
  jax.defaultDevice('webgpu');
  const device = jax.getWebGPUDevice();
  const { numpy: np, nn } = jax;
  const array = (data: Float32Array, shape: number[]): JaxArray => np.array(data).reshape(shape);

  function compiled(body: Call, inputs: JaxArray[], names: string[]): Job {
    const f = jax.jit(body);
    let last: JaxArray[] = [];
    const drop = (): void => last.splice(0).forEach((x) => x.dispose());
    return {
      async run(repeats) {
        drop();
        const made = Array.from({ length: repeats }, () => f(...inputs.map((x) => x.ref)));
        // One call's dispatches are submitted together with whichever output is asked for.
        await patiently(gpu, Promise.all(made.map(([first]) => first!.blockUntilReady())));
        await patiently(gpu, device.queue.onSubmittedWorkDone());
        last = made.pop()!;
        made.flat().forEach((x) => x.dispose());
      },
      async results() {
        const found: Named = {};
        for (const [i, name] of names.entries()) found[name] = await patiently(gpu, last[i]!.ref.data());
        return found;
      },
      destroy() {
        drop();
        inputs.forEach((x) => x.dispose());
        f.dispose();
      },
    };
  }

  function product({ form, M, O, I }: ProductCase, inputs: Named): Job {
    const [x, w, dy] = [array(inputs['x']!, [M, I]), array(inputs['w']!, [O, I]), array(inputs['dy']!, [M, O])] as const;
    const operands = { nt: [x, w], nn: [dy, w], tn: [dy, x] }[form];
    const job = compiled((a, b) => [np.matmul(form === 'tn' ? a!.transpose() : a!, form === 'nt' ? b!.transpose() : b!)], operands, ['y']);
    [x, w, dy].filter((t) => !operands.includes(t)).forEach((t) => t.dispose());
    return job;
  }

  function block(c: BlockCase, inputs: Named): Job {
    const { B, T, D, H } = c;
    const N = B * T;
    const shapes = blockShapes(c);
    const norm = (x: JaxArray, gain: JaxArray, bias: JaxArray): JaxArray => nn.standardize(x, -1, { epsilon: LAYER_NORM_EPS }).mul(gain).add(bias);
    const output = (...t: JaxArray[]): JaxArray => {
      const [x, gain1, bias1, wQkv, bQkv, wO, bO, gain2, bias2, wUp, bUp, wDown, bDown, gainF, biasF] = t as [JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray, JaxArray];
      const [q, k, v] = np.split(np.matmul(norm(x.ref, gain1, bias1), wQkv).add(bQkv), 3, -1).map((part) => part.reshape([B, T, H, D / H])) as [JaxArray, JaxArray, JaxArray];
      const o = nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([N, D]);
      const mid = np.matmul(o, wO).add(bO).add(x);
      const act = nn.gelu(np.matmul(norm(mid.ref, gain2, bias2), wUp).add(bUp), { approximate: true });
      return norm(np.matmul(act, wDown).add(bDown).add(mid), gainF, biasF);
    };
    const step: Call = (dy, ...t) => {
      const [y, back] = jax.vjp(output, t);
      const gradients = back(dy!);
      back.dispose();
      return [y, ...gradients];
    };
    const names = ['x', ...Object.keys(shapes)];
    const primals = names.map((name) => array(inputs[name]!, shapes[name] ?? [N, D]));
    return c.backward ? compiled(step, [array(inputs['dy']!, [N, D]), ...primals], ['y', ...names.map((name) => `d ${name}`)]) : compiled((...t) => [output(...t)], primals, ['y']);
  }

  return { name: 'jax-js', version, product, block, close: () => device.destroy() };
}
