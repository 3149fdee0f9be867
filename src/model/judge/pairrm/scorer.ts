import { InputError } from '../../../errors.js';
import type { Gpu } from '../../../gpu/device.js';
import { addBias } from '../../../gpu/ops/bias.js';
import { biasActivation } from '../../../gpu/ops/bias_activation.js';
import { gatherRows } from '../../../gpu/ops/gather_rows.js';
import { matmulNT } from '../../../gpu/ops/matmul.js';
import { Program } from '../../../gpu/program.js';
import { ReadbackRing } from '../../../gpu/readback.js';
import { Dyn, Tensor } from '../../../gpu/tensor.js';
import { planMicroBatches } from '../../batch/pack.js';
import { DebertaEncoder } from '../../deberta/encoder.js';
import { FrozenTensors } from '../../frozen_tensors.js';
import { BACKBONE, HEAD, type PairRmModel } from './folder.js';
import type { JudgeDtype } from '../types.js';
import type { PairInput } from './inputs.js';

/** Scores of both answers in one order. PairRM's logit is left − right. */
export interface PairScore {
  left: number;
  right: number;
}

/** Three pieces of [CLS], prefix, [SEP] at least. */
const FEWEST_ROWS = 9;

/**
 * PairRM on our kernels: the encoder's states at the three prefixes, and for each answer Linear, tanh, Linear over [source; answer]. Comparisons are
 * packed without padding, and a score does not depend on what else is in the batch.
 */
export class PairScorer {
  private readonly program: Program;
  private readonly ring: ReadbackRing;
  /** Rows of the states for the head: source, first, source, second of every comparison. */
  private readonly places: Tensor;
  private readonly scores: Tensor;

  private constructor(private readonly gpu: Gpu, private readonly encoder: DebertaEncoder, weights: FrozenTensors, D: number, private readonly capacity: { rows: number; sequences: number }) {
    const P = new Dyn('P', capacity.sequences);
    const tensor = (name: string, ...shape: ConstructorParameters<typeof Tensor>[2]): Tensor => new Tensor(gpu, `pairrm.${name}`, shape);
    this.places = new Tensor(gpu, 'pairrm.places', [P.times(4)], 'u32');
    this.scores = tensor('scores', P.times(2), 1);
    const pairs = tensor('pairs', P.times(4), D);
    const hidden = tensor('hidden', P.times(2), D);
    const value = (name: string): Tensor => weights.value(name);
    const p = (this.program = new Program(gpu, 'pairrm'));
    encoder.record(p);
    gatherRows(p, { x: encoder.states, src: this.places, y: pairs });
    matmulNT(p, { x: pairs.as([P.times(2), 2 * D]), w: value(`${HEAD.hidden}.weight`), y: hidden });
    biasActivation(p, { y: hidden, b: value(`${HEAD.hidden}.bias`) }, 'tanh');
    matmulNT(p, { x: hidden, w: value(`${HEAD.score}.weight`), y: this.scores });
    addBias(p, { y: this.scores, b: value(`${HEAD.score}.bias`) });
    this.ring = new ReadbackRing(gpu, this.scores.bytes, 3);
  }

  /**
   * @param rows token rows of a batch. Throws InputError where a weight is not finite.
   * @param dtype how matrices are kept on the GPU; the arithmetic is f32
   */
  static async open(gpu: Gpu, { spec, tensors, read }: PairRmModel, rows: number, dtype: JudgeDtype = 'float32'): Promise<PairScorer> {
    const weights = await FrozenTensors.load(gpu, tensors, 'pairrm', read, dtype === 'float16');
    const encoder = await DebertaEncoder.open(gpu, spec, weights, BACKBONE, rows);
    const scorer = new PairScorer(gpu, encoder, weights, spec.D, { rows, sequences: Math.max(1, Math.floor(rows / FEWEST_ROWS)) });
    await scorer.program.ready();
    gpu.check();
    return scorer;
  }

  /** Throws InputError for a comparison longer than the rows. */
  async score(inputs: PairInput[]): Promise<PairScore[]> {
    const longest = Math.max(0, ...inputs.map((i) => i.ids.length));
    if (longest > this.capacity.rows) throw new InputError(`a comparison has ${longest} tokens, token_budget is ${this.capacity.rows}`, `--token_budget ${longest}`);
    const plan = planMicroBatches(inputs.map((input, id) => ({ rows: input.ids.length, sequences: 1, id })), this.capacity);
    const reads: Array<{ members: number[]; read: () => Promise<ArrayBuffer> }> = [];
    const result: PairScore[] = [];
    const drain = async (pending: number): Promise<void> => {
      while (reads.length > pending) {
        const { members, read } = reads.shift()!;
        const scores = new Float32Array(await read());
        members.forEach((m, i) => (result[m] = { left: scores[2 * i]!, right: scores[2 * i + 1]! }));
      }
    };
    for (const members of plan) {
      const batch = members.map((m) => inputs[m]!);
      const { starts, values } = this.encoder.write(batch.map((b) => b.ids));
      this.places.write(Uint32Array.from(batch.flatMap((b, i) => [b.source, b.first, b.source, b.second].map((at) => starts[i]! + at))));
      const encoder = this.gpu.device.createCommandEncoder({ label: 'pairrm' });
      this.program.encode(encoder, { ...values, P: batch.length });
      const read = this.ring.capture(encoder, [this.scores]);
      this.gpu.device.queue.submit([encoder.finish()]);
      reads.push({ members, read });
      // One batch runs while the one before it is read.
      await drain(1);
    }
    await drain(0);
    return result;
  }
}
