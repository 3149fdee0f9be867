import type { Gpu } from '../../gpu/device.js';
import type { Program } from '../../gpu/program.js';
import { Tensor } from '../../gpu/tensor.js';
import type { ModelSpec, ParameterSpec } from '../families/spec.js';
import { clearNow, splitRows, type Parameters } from '../parameters.js';
import type { Optimiser, OptimiserSettings, PieceShape, TrainedTensor } from './types.js';

/** Token and position embeddings of a model, by name. */
const isEmbedding = (spec: ModelSpec, name: string): boolean => name === spec.names.embed || name === spec.names.positions;

const product = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);

/** What an optimiser keeps of the tensors a run trains, on the GPU, and how it updates them. */
export class OptimiserState {
  readonly tensors: TrainedTensor[];

  /** @param more trained tensors of the method's own */
  constructor(gpu: Gpu, readonly trained: Parameters, readonly optimiser: Optimiser, readonly settings: OptimiserSettings, more?: Parameters) {
    this.tensors = [...trained.list, ...(more?.list ?? [])].map((p) => ({
      name: p.name,
      shape: p.shape,
      pieces: p.pieces.map(({ value, moments }, index) => {
        const shape: PieceShape = { shape: moments!.grad.shape as number[], elements: product(p.shape), index, embedding: isEmbedding(trained.spec, p.name) };
        const state = Object.fromEntries(optimiser.state(shape, settings).map((s) => {
          const tensor = new Tensor(gpu, `${s.name} ${value.label}`, s.shape, s.type);
          clearNow(tensor);
          return [s.name, tensor];
        }));
        return { ...shape, value, grad: moments!.grad, state };
      }),
    }));
  }

  record(p: Program, stepState: Tensor): void {
    this.optimiser.record(p, this.tensors, stepState, this.settings);
  }

  /** Every tensor a checkpoint holds, with its name in it: values and state, pieces of a split table numbered. */
  *kept(): Generator<{ name: string; tensor: Tensor }> {
    for (const { name, pieces } of this.tensors) {
      for (const { value, state, index } of pieces) {
        const suffix = pieces.length > 1 ? `#${index}` : '';
        for (const [kind, tensor] of Object.entries({ value, ...state })) yield { name: `${kind}.${name}${suffix}`, tensor };
      }
    }
  }
}

/** Bytes an optimiser keeps of these tensors, its scratch included; vocabulary tables in pieces of at most `pieceBytes`, as an adapter binds them. */
export function optimiserBytes(optimiser: Optimiser, list: ParameterSpec[], spec: ModelSpec, o: OptimiserSettings, pieceBytes = Number.MAX_SAFE_INTEGER): number {
  const tensors = list.map((p): PieceShape[] => {
    const whole = { elements: product(p.shape), embedding: isEmbedding(spec, p.name) };
    if (!p.table) return [{ ...whole, shape: p.shape, index: 0 }];
    return splitRows(p.shape[0]!, p.shape[1]!, pieceBytes).map(({ rows }, index) => ({ ...whole, shape: [rows, p.shape[1]!], index }));
  });
  return tensors.flat().reduce((n, x) => n + optimiser.state(x, o).reduce((m, s) => m + product(s.shape) * 4, 0), 0) + (optimiser.scratch?.(tensors) ?? 0);
}
