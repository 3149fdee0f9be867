import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { Tensor } from '../gpu/tensor.js';
import type { ParameterSpec } from './families/spec.js';
import { encode16 } from './files/float_formats.js';
import { splitRows } from './parameters.js';

/** Pairs of f16, the first in the low half. A weight beyond f16's range is an error, never an infinity. */
function halves(name: string, values: Float32Array): Uint32Array {
  const odd = values.find((v) => !(Math.abs(v) < 65520));
  if (odd !== undefined) throw new InputError(`${name} holds ${odd}, which float16 cannot`, '--judge_dtype float32');
  return new Uint32Array(encode16(values, 'F16').buffer);
}

/** Weights of a model that is only run forward: a tensor each, vocabulary tables in pieces by rows. f32, or with `half` matrices as pairs of f16. */
export class FrozenTensors {
  private readonly pieces = new Map<string, Array<{ first: number; table: Tensor }>>();

  /**
   * @param read rows [first, first + rows) of a tensor as f32.
   * @param half matrices of linear layers whose rows are a multiple of 4 long are kept in f16, rounded to nearest where they were wider; embeddings and vectors stay f32
   */
  static async load(gpu: Gpu, list: ParameterSpec[], label: string, read: (p: ParameterSpec, first: number, rows: number) => Float32Array, half = false): Promise<FrozenTensors> {
    const tensors = new FrozenTensors();
    for (const p of list) {
      const [rows, width] = [p.shape[0]!, p.shape[1] ?? 1];
      const split = p.table ? splitRows(rows, width, gpu.limits.tableSplitBytes) : [{ first: 0, rows }];
      const packed = half && !p.table && p.shape.length === 2 && width % 4 === 0 && !p.name.includes('embeddings');
      const pieces = split.map(({ first, rows }) => ({ first, table: packed ? new Tensor(gpu, `${label}.${p.name}`, [rows, width / 2], 'u32') : new Tensor(gpu, `${label}.${p.name}`, p.shape.length === 2 ? [rows, width] : [rows]) }));
      tensors.pieces.set(p.name, pieces);
      for (const { first, table } of pieces) {
        const values = read(p, first, table.shape[0] as number);
        table.write(packed ? halves(p.name, values) : values);
        // Let Dawn drain its staging memory between tensors.
        await gpu.device.queue.onSubmittedWorkDone();
      }
    }
    gpu.check();
    return tensors;
  }

  table(name: string): Array<{ first: number; table: Tensor }> {
    const found = this.pieces.get(name);
    if (!found) throw new Error(`no tensor ${name}`);
    return found;
  }
  /** A tensor that is never split. */
  value(name: string): Tensor {
    return this.table(name)[0]!.table;
  }
}
