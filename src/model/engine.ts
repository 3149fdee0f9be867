import { PAIR_COLUMNS } from '../gpu/ops/document_loss.js';
import type { DispatchSizes, ProfileSink, StepValues } from '../gpu/program.js';
import { debugRead } from '../gpu/readback.js';
import { type Document, type PackedBatch, pack } from './batch/pack.js';
import { rowKeys } from './batch/row_keys.js';
import { tokenWeights } from './batch/token_weights.js';
import { keyedUniform } from './data/order.js';
import type { GroupPart, MicroResult, OptimiserValues, ReferenceRows, StepRecord } from './engine_types.js';
import type { OperandState } from './operands.js';
import { RecordedRun } from './recorded_run.js';

/** Replays the programs of a run (`RecordedRun`): micro-batches, optimiser steps, and the state that checkpoints hold. */
export class Engine extends RecordedRun {
  /** Takes timestamps of all that is submitted while it is set (benchmarks). */
  profiler: ProfileSink | undefined;

  /** Puts the scales of mixed precision back (resume); `Operands.repack` makes the copies of the weights. */
  setOperands(state: OperandState): void {
    this.operands?.restore(state);
    this.measure = false;
  }

  /** Sets β (start of a run, evaluation) and, on resume, what the optimiser counts and the method's state. */
  setState(beta: number, step?: Float32Array, method?: ArrayLike<number>): void {
    this.betaState.write(Float32Array.of(beta, 0, 0, 0));
    if (step) this.stepState.write(step);
    // Also where there is none given: a dry step has moved it.
    this.setMethodState(method);
  }

  /** The method's state after the last step that was not skipped (checkpoints); undefined where it has none. */
  async readMethodState(): Promise<Float32Array | undefined> {
    const count = Object.keys(this.options.loss.group?.state ?? {}).length;
    return count === 0 ? undefined : debugRead(this.group!.state, count, 16);
  }

  /** The optimiser's counters as they stand (checkpoints). */
  readStepState(): Promise<Float32Array> {
    return debugRead(this.stepState);
  }

  /**
   * Submits one micro-batch; the returned function waits for its pair table.
   * @param invCount 1 / pairs (or tokens, as the loss normalises) of the whole optimiser step.
   * @param perToken its pairs / chosen tokens, for losses with a token mean in them.
   * @param part of which group, for losses with statistics over one; where absent the micro-batch is the group.
   */
  microBatch(documents: Document[], reference: ReferenceRows | undefined, invCount: number, train: boolean, perToken = 0, part = wholeGroup(documents)): () => Promise<MicroResult> {
    const { gpu, loss } = this.options;
    const { encoder, batch, values } = this.begin(documents, reference, { invCount, perToken, train, part, first: loss.group?.of === 'mismatched' ? loss.needs.branches : 0 });
    if (part.whole) for (const program of [this.gatherProgram, this.statsProgram]) program?.encode(encoder, values, this.profiler);
    this.lossProgram.encode(encoder, values, this.profiler);
    if (train) this.backwardProgram!.encode(encoder, values, this.profiler);
    const read = this.pairRing.capture(encoder, [this.pairs]);
    gpu.device.queue.submit([encoder.finish()]);
    const data = read();
    data.catch(() => undefined); // reported where it is awaited
    return async () => ({ documents, batch, table: new Float32Array(await data).subarray(0, batch.values.P * PAIR_COLUMNS.length) });
  }

  /**
   * The log-prob pass of a group wider than a micro-batch: forward only, the documents' sums to the group's table. With the `last` part the statistics
   * are made; then each part's `microBatch`, whose forward gives the same bits.
   */
  scorePart(documents: Document[], reference: ReferenceRows | undefined, train: boolean, part: GroupPart, last: boolean): void {
    const { encoder, values } = this.begin(documents, reference, { invCount: 0, perToken: 0, train, part, first: 0 });
    this.gatherProgram!.encode(encoder, values, this.profiler);
    if (last) this.statsProgram!.encode(encoder, values, this.profiler);
    this.options.gpu.device.queue.submit([encoder.finish()]);
  }

  /** Uploads a micro-batch and encodes its forward pass. */
  private begin(documents: Document[], reference: ReferenceRows | undefined, o: { invCount: number; perToken: number; train: boolean; part: GroupPart; first: number }): { encoder: GPUCommandEncoder; batch: PackedBatch; values: StepValues } {
    const { gpu, loss } = this.options;
    const { part, train } = o;
    const batch = pack(documents, loss.needs.scored === 'all');
    if (reference) {
      this.refLogps!.write(reference.logps);
      if (reference.hidden && this.refHidden) this.refHidden.write(reference.hidden);
    }
    if (this.lists) {
      let next = 0;
      this.lists.docStart.write(Uint32Array.from([0, ...documents.map((d) => (next += d.branches.length))]));
      this.lists.scores.write(Float32Array.from(documents.flatMap((d) => d.scores!)));
    }
    const weights = loss.needs.tokenWeights;
    if (weights?.from === 'data' || weights?.from === 'length') this.tokenWeights!.write(tokenWeights(documents, weights, loss.needs.scored === 'all'));
    this.group?.docInfo.write(Float32Array.from(documents.flatMap((d, i) => [part.places[i]!, d.desirable === false ? 0 : 1, part.uniforms[i]!, d.weight ?? 1])));
    const values: StepValues = { ...batch.values, invCount: o.invCount, perToken: o.perToken, training: train ? 1 : 0, measureScales: this.measure ? 1 : 0, ...this.groupValues(batch, part, o.first), ...this.dropoutValues(documents, batch, train) };
    const encoder = gpu.device.createCommandEncoder({ label: 'micro-batch' });
    this.batch.upload(encoder, batch);
    this.forwardProgram.encode(encoder, values, this.profiler);
    return { encoder, batch, values };
  }

  private groupValues({ values: { Q, P } }: PackedBatch, part: GroupPart, first: number): StepValues {
    return { stride: Q / P, first, G: part.members };
  }

  /** Writes the rows' keys and gives the step's numbers; nothing falls in evaluation. */
  private dropoutValues(documents: Document[], batch: PackedBatch, train: boolean): StepValues {
    const { dropout } = this.acts.lora ?? {};
    const { learnedMask } = this;
    dropout?.keys.write(rowKeys(documents));
    learnedMask?.writeKeys(documents, batch);
    return {
      ...(dropout ? { dropout: train ? this.options.policy.adapters!.dropout : 0 } : {}),
      ...(learnedMask ? { maskDropout: train ? (this.options.settings.params['sparsepo_dropout'] ?? 0) : 0 } : {}),
      dropoutKey: this.stepKey,
    };
  }

  /** What a training micro-batch of these documents dispatches, forward and backward; nothing runs (tests, benchmarks). */
  dispatches(documents: Document[]): DispatchSizes[] {
    const batch = pack(documents, this.options.loss.needs.scored === 'all');
    const all: StepValues = { ...batch.values, ...this.groupValues(batch, wholeGroup(documents), 0), invCount: 1, perToken: 0, training: 1, measureScales: 0, dropout: 0, maskDropout: 0, dropoutKey: 0 };
    return [this.forwardProgram, this.gatherProgram, this.statsProgram, this.lossProgram, this.backwardProgram].flatMap((p) => p?.dispatches(all) ?? []);
  }

  /** What an optimiser step dispatches, and how many buffers it clears; nothing runs (tests). */
  optimiserDispatches(): { list: DispatchSizes[]; clears: number } {
    const values = optimiserScalars({ lr: 0, beta1: 0, beta2: 0, epsilon: 0, maxGradNorm: 0, weightDecay: 0 }, 0);
    return { list: this.optimiserProgram!.dispatches(values), clears: this.optimiserProgram!.clears };
  }

  /** Submits clipping, the optimiser's update and that of β; the returned function waits for the record. */
  optimise(o: OptimiserValues & { weightDecay: number }): () => Promise<StepRecord> {
    const { gpu } = this.options;
    const encoder = gpu.device.createCommandEncoder({ label: 'optimiser step' });
    this.optimiserProgram!.encode(encoder, optimiserScalars(o, this.stepKey), this.profiler);
    this.measure = false;
    const { lossScale } = this.operands ?? {};
    const read = this.stateRing.capture(encoder, [this.stepState, this.betaState, ...(lossScale ? [lossScale] : [])]);
    gpu.device.queue.submit([encoder.finish()]);
    const data = read();
    data.catch(() => undefined);
    return async () => {
      const s = new Float32Array(await data);
      return { gradNorm: s[0]!, skipped: s[2] !== 0, t: s[3]!, beta: s[16]!, ...(lossScale ? { lossScale: s[20]! } : {}) };
    };
  }
}

/** A micro-batch that is a group. */
const wholeGroup = (documents: Document[]): GroupPart => ({ members: documents.length, places: documents.map((_, i) => i), uniforms: documents.map((d) => drawnUniform(d.id)), whole: true });

/** A number in (0, 1), away from both ends in f32 too. */
export const drawnUniform = (...keys: number[]): number => Math.min(Math.max(keyedUniform(0xd0c, ...keys), 1e-7), 1 - 1e-7);

const optimiserScalars = (o: OptimiserValues & { weightDecay: number }, stepKey: number): StepValues => ({
  lr: o.lr, beta1: o.beta1, beta2: o.beta2, oneMinusBeta1: 1 - o.beta1, oneMinusBeta2: 1 - o.beta2,
  adamEpsilon: o.epsilon, weightDecay: o.weightDecay, maxGradNorm: o.maxGradNorm, stepKey,
});
