import type { Gpu } from '../gpu/device.js';
import { PackedTensor } from '../gpu/packed.js';
import { Tensor } from '../gpu/tensor.js';
import type { ParameterSpec } from './families/spec.js';
import { fillTensor } from './packing/packed.js';
import { splitRows } from './parameters.js';

/** Weights of a model that is only run forward: a tensor each, vocabulary tables in pieces by rows. f32, or with `half` matrices in f16. */
export class FrozenTensors {
  private readonly pieces = new Map<string, Array<{ first: number; table: Tensor }>>();

  /**
   * @param read rows [first, first + rows) of a tensor as f32.
   * @param half matrices of linear layers are kept in f16, rounded to nearest where they were wider; embeddings and vectors stay f32
   */
  static async load(gpu: Gpu, list: ParameterSpec[], label: string, read: (p: ParameterSpec, first: number, rows: number) => Float32Array, half = false): Promise<FrozenTensors> {
    const tensors = new FrozenTensors();
    for (const p of list) {
      const [rows, width] = [p.shape[0]!, p.shape[1] ?? 1];
      const split = p.table ? splitRows(rows, width, gpu.limits.tableSplitBytes) : [{ first: 0, rows }];
      const packed = half && !p.table && p.shape.length === 2 && !p.name.includes('embeddings');
      const pieces = split.map(({ first, rows }) => ({ first, table: packed ? new PackedTensor(gpu, `${label}.${p.name}`, [rows, width], 'f16') : new Tensor(gpu, `${label}.${p.name}`, p.shape.length === 2 ? [rows, width] : [rows]) }));
      tensors.pieces.set(p.name, pieces);
      for (const { first, table } of pieces) {
        await fillTensor(table, p.name, (from, n) => read(p, first + from, n), '--judge_dtype float32');
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
