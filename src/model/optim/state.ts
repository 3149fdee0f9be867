import type { Gpu } from '../../gpu/device.js';
import type { Paths } from '../../gpu/paths.js';
import type { Program } from '../../gpu/program.js';
import { partBytes, Tensor } from '../../gpu/tensor.js';
import { arenaPadding } from '../arena.js';
import type { ModelSpec, ParameterSpec } from '../families/spec.js';
import { clearNow, splitRows, type Arena, type Parameter, type Parameters } from '../parameters.js';
import { IN_F32, type Storage } from '../storage.js';
import type { Optimiser, OptimiserSettings, PieceShape, StateSpec, TrainedPiece, TrainedTensor } from './types.js';

/** Token and position embeddings of a model, by name. */
const isEmbedding = (spec: ModelSpec, name: string): boolean => name === spec.names.embed || name === spec.names.positions;

const product = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);

/** Tensors behind one another in an arena that an optimiser may update as one, with what it keeps of them all. */
interface Run {
  arena: Arena;
  /** Where the first of them lies, in bytes. */
  first: number;
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
    this.runs = arenas.flatMap((arena) => stretches(arena.members, (p) => optimiser.elementwise?.(shapeOf(p, 0)) ?? false).map((members): Run => {
      const offset = (p: Parameter): number => p.pieces[0]!.value.place.offset;
      const first = offset(members[0]!);
      const bytes = offset(members.at(-1)!) + partBytes(members.at(-1)!.pieces[0]!.value.bytes) - first;
      const kept = optimiser.state(shapeOf(members[0]!, 0), settings);
      const state = this.make(kept.map((s) => ({ ...s, shape: [bytes / 4] })), arena.value);
      return { arena, first, state, members: members.map((p) => trainedOf(p, (piece, value) => Object.fromEntries(optimiser.state(piece, settings).map((s) => [s.name, state[s.name]!.part(`${s.name} ${value.label}`, s.shape, offset(p) - first)])))) };
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

  /** Runs are updated as one, but for matrices with an f16 copy, which is written with each. */
  record(p: Program, stepState: Tensor): void {
    const joined = this.runs.flatMap((run) => stretches(run.members, ({ pieces }) => !p.operands?.weight(pieces[0]!.value)).map((members) => ({ members, as: join(run, members) })));
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

/** The longest stretches of a list all of whose members are `so`. */
function stretches<T>(list: T[], so: (x: T) => boolean): T[][] {
  const found: T[][] = [];
  list.forEach((x, i) => {
    if (!so(x)) return;
    if (i > 0 && so(list[i - 1]!)) found.at(-1)!.push(x);
    else found.push([x]);
  });
  return found;
}

/** Some of a run, behind one another, as one tensor: a vector, or a matrix of one row, with the zeros between them. */
function join({ arena, first, state }: Run, members: TrainedTensor[]): TrainedTensor {
  const of = (x: TrainedTensor): TrainedPiece => x.pieces[0]!;
  const from = of(members[0]!).value.place.offset;
  const last = of(members.at(-1)!).value.place;
  const elements = (last.offset + partBytes(last.bytes) - from) / 4;
  const shape = arena.group === 'vectors' ? [elements] : [1, elements];
  const part = (whole: Tensor, at: number): Tensor => whole.part(`${whole.label} from ${of(members[0]!).value.label}`, shape, at);
  const piece = { shape, elements, index: 0, embedding: false, value: part(arena.value, from), grad: part(arena.grad, from), state: Object.fromEntries(Object.entries(state).map(([name, tensor]) => [name, part(tensor, from - first)])) };
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
    const padding = optimiser.elementwise?.(x) ? arenaPadding(list[i]!, storage, paths) : 0;
    return optimiser.state(x, o).reduce((n, s) => n + product(s.shape) * 4 + padding, 0);
  }));
  return kept.reduce((a, b) => a + b, 0) + (optimiser.scratch?.(tensors) ?? 0);
}
