import type { Gpu } from '../../gpu/device.js';
import { copyOf } from '../../gpu/ops/pack_weights.js';
import type { Paths } from '../../gpu/paths.js';
import type { Program } from '../../gpu/program.js';
import { partBytes, Tensor } from '../../gpu/tensor.js';
import { inArena } from '../arena.js';
import type { ModelSpec, ParameterSpec } from '../families/spec.js';
import { clearNow, splitRows, type Arena, type Parameter, type Parameters } from '../parameters.js';
import { IN_F32, type Storage } from '../storage.js';
import type { Optimiser, OptimiserSettings, PieceShape, StateSpec, TrainedPiece, TrainedTensor } from './types.js';

/** Token and position embeddings of a model, by name. */
const isEmbedding = (spec: ModelSpec, name: string): boolean => name === spec.names.embed || name === spec.names.positions;

const product = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);

/** Tensors behind one another in an arena that an optimiser may update as one, with what it keeps of them, each kind behind one another too. */
interface Run {
  arena: Arena;
  members: TrainedTensor[];
  state: Record<string, Tensor>;
}

/** What an optimiser keeps of the tensors a run trains, on the GPU, and how it updates them. */
export class OptimiserState {
  readonly tensors: TrainedTensor[];
  private readonly runs: Run[];

  /** @param more trained tensors of the method's own */
  constructor(private readonly gpu: Gpu, readonly trained: Parameters, readonly optimiser: Optimiser, readonly settings: OptimiserSettings, more?: Parameters) {
    const list = [...trained.list, ...(more?.list ?? [])];
    const arenas = [trained, ...(more ? [more] : [])].flatMap((parameters) => parameters.arenas);
    const shapeOf = (p: Parameter, index: number): PieceShape => ({ shape: p.pieces[index]!.moments!.grad.shape as number[], elements: product(p.shape), index, embedding: isEmbedding(trained.spec, p.name) });
    const trainedOf = (p: Parameter, state: (piece: PieceShape, value: Tensor) => Record<string, Tensor>): TrainedTensor => ({
      name: p.name, shape: p.shape, number: list.indexOf(p),
      pieces: p.pieces.map(({ value, moments }, index) => {
        const shape = shapeOf(p, index);
        return { ...shape, value, grad: moments!.grad, state: state(shape, value) };
      }),
    });
    this.runs = arenas.flatMap((arena) => stretches(arena.members, (p) => optimiser.joins?.(shapeOf(p, 0))).map((members): Run => {
      const kept = members.map((p) => optimiser.state(shapeOf(p, 0), settings));
      const size = (s: StateSpec): number => partBytes(4 * product(s.shape));
      const state = this.make(kept[0]!.map((s, k) => ({ ...s, shape: [kept.reduce((n, of) => n + size(of[k]!), 0) / 4] })), arena.value);
      const next = new Map<string, number>();
      return { arena, state, members: members.map((p) => trainedOf(p, (piece, value) => Object.fromEntries(optimiser.state(piece, settings).map((s) => {
        const at = next.get(s.name) ?? 0;
        next.set(s.name, at + size(s));
        return [s.name, state[s.name]!.part(`${s.name} ${value.label}`, s.shape, at)];
      })))) };
    }));
    const inRuns = new Map(this.runs.flatMap(({ members }) => members.map((x) => [x.name, x] as const)));
    this.tensors = list.map((p) => inRuns.get(p.name) ?? trainedOf(p, (piece, value) => this.make(optimiser.state(piece, settings), value)));
  }

  private make(specs: StateSpec[], { label }: Tensor): Record<string, Tensor> {
    return Object.fromEntries(specs.map((s) => {
      const tensor = new Tensor(this.gpu, `${s.name} ${label}`, s.shape, s.type);
      clearNow(tensor);
      return [s.name, tensor];
    }));
  }

  /** Runs are updated as one, but for matrices whose f16 copy is written with each. */
  record(p: Program, stepState: Tensor): void {
    const apart = (piece: TrainedPiece): boolean => (this.optimiser.copies?.(piece) ?? false) && copyOf(p, piece.value) !== undefined;
    const joined = this.runs.flatMap((run) => stretches(run.members, ({ pieces }) => (apart(pieces[0]!) ? undefined : 'together')).map((members) => ({ members, as: join(run, members) })));
    const inside = new Set(joined.flatMap(({ members }) => members));
    this.optimiser.record(p, [...joined.map(({ as }) => as), ...this.tensors.filter((x) => !inside.has(x))], stepState, this.settings);
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

/** The longest stretches of a list whose members have one name for `kind`; none of those without. */
function stretches<T>(list: T[], kind: (x: T) => string | undefined): T[][] {
  const found: T[][] = [];
  list.forEach((x, i) => {
    if (kind(x) === undefined) return;
    if (i > 0 && kind(list[i - 1]!) === kind(x)) found.at(-1)!.push(x);
    else found.push([x]);
  });
  return found;
}

/** Some of a run, behind one another, as one tensor: a vector, or a matrix of one row, with the zeros between them. */
function join({ arena, state }: Run, members: TrainedTensor[]): TrainedTensor {
  const inside = members.map((x) => x.pieces[0]!);
  const part = (whole: Tensor, of: (x: TrainedPiece) => Tensor): Tensor => {
    const [from, last] = [of(inside[0]!).place.offset, of(inside.at(-1)!).place];
    const elements = (last.offset + partBytes(last.bytes) - from) / 4;
    return whole.part(`${whole.label} from ${inside[0]!.value.label}`, arena.group === 'vectors' ? [elements] : [1, elements], from);
  };
  const value = part(arena.value, (x) => x.value);
  const shape = value.shape as number[];
  const piece = { shape, elements: value.elements, index: 0, embedding: false, value, grad: part(arena.grad, (x) => x.grad), state: Object.fromEntries(Object.entries(state).map(([name, tensor]) => [name, part(tensor, (x) => x.state[name]!)])), members: inside };
  return { name: piece.value.label, shape, number: members[0]!.number, pieces: [piece] };
}

/** Bytes an optimiser keeps of these tensors, its scratch included; vocabulary tables in pieces of at most `pieceBytes`, as an adapter binds them. */
export function optimiserBytes(optimiser: Optimiser, list: ParameterSpec[], spec: ModelSpec, o: OptimiserSettings, pieceBytes = Number.MAX_SAFE_INTEGER, storage: Storage = IN_F32, paths?: Paths): number {
  const tensors = list.map((p): PieceShape[] => {
    const whole = { elements: product(p.shape), embedding: isEmbedding(spec, p.name) };
    if (!p.table) return [{ ...whole, shape: p.shape, index: 0 }];
    return splitRows(p.shape[0]!, p.shape[1]!, pieceBytes).map(({ rows }, index) => ({ ...whole, shape: [rows, p.shape[1]!], index }));
  });
  const kept = tensors.flatMap((pieces, i) => pieces.map((x) => {
    const joined = optimiser.joins?.(x) !== undefined && inArena(list[i]!, storage, paths);
    return optimiser.state(x, o).reduce((n, s) => n + (joined ? partBytes(4 * product(s.shape)) : 4 * product(s.shape)), joined ? (optimiser.noted?.(x) ?? 0) : 0);
  }));
  return kept.reduce((a, b) => a + b, 0) + (optimiser.scratch?.(tensors) ?? 0);
}
