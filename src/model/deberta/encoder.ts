import type { Gpu } from '../../gpu/device.js';
import { biasActivation } from '../../gpu/ops/bias_activation.js';
import { disentangledAttention, queryTiles } from '../../gpu/ops/disentangled_attention.js';
import { embed } from '../../gpu/ops/embed.js';
import { layerNorm } from '../../gpu/ops/layer_norm.js';
import { matmulNT } from '../../gpu/ops/matmul.js';
import { Program, scalar, type StepValues } from '../../gpu/program.js';
import { Dyn, Tensor, type Extent } from '../../gpu/tensor.js';
import type { FrozenTensors } from '../frozen_tensors.js';
import { relativeRows } from './positions.js';
import { embeddingNames, layerNames, type DebertaSpec } from './spec.js';

/**
 * The encoder over packed token rows, forward only, in f32, as transformers' DebertaV2Model computes it in evaluation mode. Sequences see themselves
 * alone, and a row's bits depend on its own sequence alone.
 */
export class DebertaEncoder {
  private readonly N: Dyn;
  private readonly ids: Tensor;
  /** Query tiles of attention [T, 4]. */
  private readonly tiles: Tensor;
  /** Last layer's states [N, D], once recorded and run. */
  readonly states: Tensor;
  private readonly relativeRows: Uint32Array;
  private readonly relative: Tensor;
  /** Keys and queries of the relative embeddings by layer [2·buckets, D]: the same for every text, so made once. */
  private readonly positions: Array<{ pos_key: Tensor; pos_query: Tensor }>;
  private readonly make: (name: string, ...shape: Extent[]) => Tensor;

  private constructor(private readonly gpu: Gpu, private readonly spec: DebertaSpec, private readonly weights: FrozenTensors, private readonly at: string, rows: number) {
    const { L, D, buckets, maxDistance } = spec;
    this.make = (name, ...shape) => new Tensor(gpu, `deberta.${name}`, shape);
    this.N = new Dyn('N', rows);
    this.ids = new Tensor(gpu, 'deberta.ids', [this.N], 'u32');
    // Sequences of one token have a tile each.
    this.tiles = new Tensor(gpu, 'deberta.tiles', [new Dyn('T', rows), 4], 'u32');
    this.relativeRows = relativeRows(rows, buckets, maxDistance);
    this.relative = new Tensor(gpu, 'deberta.relative', [this.relativeRows.length], 'u32');
    this.relative.write(this.relativeRows);
    this.states = this.make('states', this.N, D);
    this.positions = Array.from({ length: L }, (_, l) => ({ pos_key: this.make(`L${l}.pos_key`, 2 * buckets, D), pos_query: this.make(`L${l}.pos_query`, 2 * buckets, D) }));
  }

  /**
   * @param at what stands before the tensors' names
   * @param rows token rows of a batch at most, of all its sequences together
   */
  static async open(gpu: Gpu, spec: DebertaSpec, weights: FrozenTensors, at: string, rows: number): Promise<DebertaEncoder> {
    const encoder = new DebertaEncoder(gpu, spec, weights, at, rows);
    await encoder.project();
    return encoder;
  }

  private norm(p: Program, name: string, t: { x: Tensor; y: Tensor; b?: Tensor }): void {
    layerNorm(p, { ...t, gain: this.weights.value(`${name}.weight`), bias: this.weights.value(`${name}.bias`) }, this.spec.eps);
  }
  private linear(p: Program, name: string, x: Tensor, y: Tensor): void {
    matmulNT(p, { x, w: this.weights.value(`${name}.weight`), y }, { bias: this.weights.value(`${name}.bias`) });
  }

  private async project(): Promise<void> {
    const names = embeddingNames(this.at);
    const normed = new Tensor(this.gpu, 'deberta.relative_normed', [2 * this.spec.buckets, this.spec.D]);
    const program = new Program(this.gpu, 'deberta positions');
    this.norm(program, names.relativeNorm, { x: this.weights.value(names.relative), y: normed });
    this.positions.forEach(({ pos_key, pos_query }, l) => {
      const { key, query } = layerNames(this.at, l);
      this.linear(program, key, normed, pos_key);
      this.linear(program, query, normed, pos_query);
    });
    await program.submit();
    await this.gpu.device.queue.onSubmittedWorkDone();
    normed.destroy();
    this.gpu.check();
  }

  /** Records what makes `states` of what `write` uploads. */
  record(p: Program): void {
    const { N } = this;
    const { L, D, H, C, F, buckets } = this.spec;
    const names = embeddingNames(this.at);
    const value = (name: string): Tensor => this.weights.value(name);
    const [q, k, v, o, sum, middle] = ['q', 'k', 'v', 'o', 'sum', 'middle'].map((name) => this.make(name, N, D)) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    const inner = this.make('inner', N, F);
    const [c2p, p2c] = ['c2p', 'p2c'].map((name) => this.make(name, N, H * 2 * buckets)) as [Tensor, Tensor];
    const { relative, tiles } = this;
    const reached = { first: scalar('first_position'), count: scalar('positions') };
    const x = this.states;
    const scale = 1 / Math.sqrt(3 * C);
    embed(p, { ids: this.ids, pieces: this.weights.table(names.words), x: sum });
    this.norm(p, names.norm, { x: sum, y: x });
    for (let l = 0; l < L; l++) {
      p.scope(`L${l}`, () => {
        const n = layerNames(this.at, l);
        this.linear(p, n.query, x, q);
        this.linear(p, n.key, x, k);
        this.linear(p, n.value, x, v);
        disentangledAttention(p, { q, k, v, ...this.positions[l]!, c2p, p2c, relative, tiles, o }, { H, C, scale, ...reached });
        matmulNT(p, { x: o, w: value(`${n.out}.weight`), y: sum }, { add: x });
        this.norm(p, n.norm1, { x: sum, b: value(`${n.out}.bias`), y: middle });
        matmulNT(p, { x: middle, w: value(`${n.up}.weight`), y: inner });
        biasActivation(p, { y: inner, b: value(`${n.up}.bias`) }, 'gelu');
        matmulNT(p, { x: inner, w: value(`${n.down}.weight`), y: sum }, { add: middle });
        this.norm(p, n.norm2, { x: sum, b: value(`${n.down}.bias`), y: x });
      });
    }
  }

  /** Uploads a batch of sequences. @returns each one's first row, and the values that the recorded program is encoded with. */
  write(sequences: number[][]): { starts: number[]; values: StepValues } {
    const lengths = sequences.map((s) => s.length);
    const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
    const tiles = queryTiles(lengths);
    this.ids.write(Uint32Array.from(sequences.flat()));
    this.tiles.write(tiles);
    // Rows of the positions rise with the distance.
    const [middle, far] = [(this.relativeRows.length - 1) / 2, Math.max(...lengths) - 1];
    const [first, last] = [this.relativeRows[middle - far]!, this.relativeRows[middle + far]!];
    return { starts, values: { N: lengths.reduce((a, b) => a + b, 0), T: tiles.length / 4, first_position: first, positions: last - first + 1 } };
  }
}
