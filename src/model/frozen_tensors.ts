import type { Gpu } from '../gpu/device.js';
import { Tensor } from '../gpu/tensor.js';
import type { ParameterSpec } from './families/spec.js';
import { splitRows } from './parameters.js';

/** Weights of a model that is only run forward, in f32: a tensor each, vocabulary tables in pieces by rows. */
export class FrozenTensors {
  private readonly pieces = new Map<string, Array<{ first: number; table: Tensor }>>();

  /** @param read rows [first, first + rows) of a tensor as f32. */
  static async load(gpu: Gpu, list: ParameterSpec[], label: string, read: (p: ParameterSpec, first: number, rows: number) => Float32Array): Promise<FrozenTensors> {
    const tensors = new FrozenTensors();
    for (const p of list) {
      const [rows, width] = [p.shape[0]!, p.shape[1] ?? 1];
      const split = p.table ? splitRows(rows, width, gpu.limits.tableSplitBytes) : [{ first: 0, rows }];
      const pieces = split.map(({ first, rows }) => ({ first, table: new Tensor(gpu, `${label}.${p.name}`, p.shape.length === 2 ? [rows, width] : [rows]) }));
      tensors.pieces.set(p.name, pieces);
      for (const { first, table } of pieces) {
        table.write(read(p, first, table.shape[0] as number));
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
