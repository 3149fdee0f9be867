import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { betaUpdate } from '../gpu/ops/beta_update.js';
import { documentListLoss } from '../gpu/ops/document_list_loss.js';
import { documentLoss, isCoupled, PAIR_COLUMNS } from '../gpu/ops/document_loss.js';
import { gradNorm, PARTIAL_SLOTS, stepState } from '../gpu/ops/grad_norm.js';
import { groupGather, groupStats, methodCommit, type GroupTensors } from '../gpu/ops/group_stats.js';
import { Head, HEAD_TILE, type HeadMode } from '../gpu/ops/head.js';
import { TERMS } from '../gpu/ops/head_kernels.js';
import { seqSum } from '../gpu/ops/seq_sum.js';
import { takeColumn } from '../gpu/ops/take_column.js';
import type { DispatchTime, Profiler } from '../gpu/profile.js';
import { Program, scalar, type DispatchSizes, type StepValues } from '../gpu/program.js';
import { debugRead, ReadbackRing } from '../gpu/readback.js';
import { Dyn, Tensor } from '../gpu/tensor.js';
import { Activations, BackwardScratch, type KeepFormat, type KeepMode } from './activations.js';
import { pack, type BatchCapacity, type Document, type PackedBatch } from './batch/pack.js';
import { batchAxes, BatchTensors, type BatchAxes } from './batch/tensors.js';
import { rowKeys } from './batch/row_keys.js';
import { tokenWeights } from './batch/token_weights.js';
import { keyedUniform } from './data/order.js';
import { hasTerms, wantsLive, type LossDefinition, type LossSettings } from './losses/types.js';
import { LearnedMask } from './learned_mask.js';
import { Operands, type OperandState } from './operands.js';
import { optimisers } from './optim/index.js';
import { OptimiserState } from './optim/state.js';
import type { Optimiser, OptimiserSettings } from './optim/types.js';
import { clearNow, type Parameters, type Piece } from './parameters.js';
import { longFrom } from './rotary.js';
import { mapoMask } from './token_mask.js';
import { backward, forward, type TransformerParts } from './transformer.js';

/** Where the reference's quantities come from. */
export type ReferencePlan =
  | { kind: 'none' }
  /** Log-probs uploaded per scored row; `head` re-projects cached hidden states where the method needs them. */
  | { kind: 'cache'; head?: Parameters; rounded: boolean }
  /** The reference runs in every micro-batch. */
  | { kind: 'live'; parameters: Parameters };

export interface EngineOptions {
  gpu: Gpu;
  policy: Parameters;
  loss: LossDefinition;
  settings: LossSettings;
  reference: ReferencePlan;
  capacity: BatchCapacity;
  training: boolean;
  /** Most documents of a group, for losses with statistics over one; as many as a micro-batch's sequences where absent. */
  groupSize?: number;
  /** What of a layer is made again in the backward pass: nothing, all of it, or its MLP. */
  gradientCheckpointing?: boolean | 'mlp';
  /** How what is kept lies between the passes; f32 where absent. */
  activations?: KeepFormat | undefined;
  /** AdamW in f32 where absent. */
  optimiser?: Optimiser | undefined;
  optimiserSettings?: OptimiserSettings | undefined;
  /** Columns of a vocabulary tile. */
  tile?: number;
  /** Of the tensors a method trains of its own; 0 where absent. */
  seed?: number | undefined;
  /** λ of decoding-time realignment: the policy scored is λ f + (1 - λ) r (evaluation with the reference's whole distribution). */
  realign?: number | undefined;
}

/** Cached reference rows of a micro-batch, in the order of its scored rows. */
export interface ReferenceRows {
  logps: Float32Array;
  /** [S, D] */
  hidden?: Float32Array;
}

/** What a micro-batch gives back: a row of PAIR_COLUMNS per document. */
export interface MicroResult {
  documents: Document[];
  batch: PackedBatch;
  table: Float32Array;
}

/** A micro-batch's part of a group. */
export interface GroupPart {
  /** Documents of the group. */
  members: number;
  /** Place of each document of the micro-batch in it. */
  places: number[];
  /** A number in (0, 1) for each, from (seed, step, document). */
  uniforms: number[];
  /** The whole group is here (statistics, then losses), or its statistics are there already (`scorePart`). */
  whole: boolean;
}

/** What an optimiser step gives back, read one step late. */
export interface StepRecord {
  gradNorm: number;
  skipped: boolean;
  t: number;
  /** β after the step. */
  beta: number;
  /** In mixed precision, after the step. */
  lossScale?: number;
}

/** Numbers of one optimiser step. */
export interface OptimiserValues {
  lr: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  maxGradNorm: number;
}

/**
 * The recorded programs of one run: forward with the loss, backward, optimiser. Everything is allocated when it
 * is built; a step only uploads one packed batch and re-encodes the lists (design 4).
 */
export class Engine {
  readonly axes: BatchAxes;
  readonly batch: BatchTensors;
  readonly acts: Activations;
  readonly head: Head;
  /** [Q, 12], [Q, 2], [P, columns] */
  readonly seqStats: Tensor;
  /** [Q, 8], columns TERMS, where the loss has such terms; [S, 2], weights of log-prob and KL of each scored row, where it has them. */
  readonly seqTerms: Tensor | undefined;
  readonly tokenWeights: Tensor | undefined;
  /** The method's own mask of tokens, trained with the policy. */
  readonly learnedMask: LearnedMask | undefined;
  /** Of lists of responses: the first sequence of each document [P+1], and the score of each response [Q]. */
  private readonly lists: { docStart: Tensor; scores: Tensor } | undefined;
  readonly coef: Tensor;
  readonly pairs: Tensor;
  readonly betaState: Tensor;
  readonly stepCounts: Tensor;
  readonly stepState: Tensor;
  readonly group: GroupTensors | undefined;
  readonly refLogps: Tensor | undefined;
  readonly refHidden: Tensor | undefined;
  /** In mixed precision (`gpu.mixed`): the f16 side of every product with a weight. */
  readonly operands: Operands | undefined;
  /** Gradient scales have no history yet and are measured as they come. */
  private measure = true;
  private readonly scratch: BackwardScratch | undefined;
  private readonly forwardProgram: Program;
  /** A loss over groups: a micro-batch's sums to the group's table, statistics of the table. */
  private readonly gatherProgram: Program | undefined;
  private readonly statsProgram: Program | undefined;
  private readonly lossProgram: Program;
  private readonly backwardProgram: Program | undefined;
  private readonly optimiserProgram: Program | undefined;
  /** What the optimiser keeps of what is trained. */
  readonly optimiserState: OptimiserState | undefined;
  /** Number of the optimiser step (`stepKey`) for dropout's masks and the rounding of packed weights. */
  stepKey = 0;
  private readonly pairRing: ReadbackRing;
  private readonly stateRing: ReadbackRing;

  constructor(readonly options: EngineOptions) {
    const { gpu, policy, capacity, reference, loss, settings } = options;
    const { spec } = policy;
    this.axes = batchAxes(capacity);
    const { S, Q, P } = this.axes;
    this.batch = new BatchTensors(gpu, this.axes, longFrom(spec, this.axes.N.capacity));
    const keep: KeepMode = !options.training ? 'forward' : options.gradientCheckpointing === 'mlp' ? 'mlp' : options.gradientCheckpointing ? 'checkpoint' : 'train';
    this.acts = new Activations(gpu, spec, this.axes, keep, 'policy', policy.adapters, options.activations);
    this.seqStats = new Tensor(gpu, 'seq_stats', [Q, 12]);
    const { needs } = loss;
    if (needs.list) this.lists = { docStart: new Tensor(gpu, 'doc_start', [P.capacity + 1], 'u32'), scores: new Tensor(gpu, 'scores', [Q]) };
    if (hasTerms(needs)) this.seqTerms = new Tensor(gpu, 'seq_terms', [Q, TERMS.length]);
    if (wantsLive(needs) && reference.kind !== 'live') throw new InputError(`${loss.name} weights tokens by the reference’s states, which no cache holds`, '--ref_mode live');
    if (needs.tokenWeights) this.tokenWeights = new Tensor(gpu, 'token_weights', [S, 2]);
    if (needs.tokenWeights?.from === 'learned' && reference.kind === 'live') {
      this.learnedMask = new LearnedMask(gpu, reference.parameters.spec, this.axes, { kind: needs.tokenWeights.kind, seed: options.seed ?? 0, params: settings.params }, this.tokenWeights!);
    }
    this.coef = new Tensor(gpu, 'coef', [Q, 2]);
    this.pairs = new Tensor(gpu, 'pairs', [P, PAIR_COLUMNS.length]);
    this.betaState = new Tensor(gpu, 'beta_state', [4]);
    this.stepCounts = new Tensor(gpu, 'step_counts', [4], 'u32');
    this.stepState = new Tensor(gpu, 'step_state', [16]);
    for (const t of [this.betaState, this.stepCounts, this.stepState, this.coef]) clearNow(t);

    if (isCoupled(loss)) {
      // A last group with too few members joins the one before it.
      const G = new Dyn('G', (options.groupSize ?? P.capacity) + (loss.group?.least ?? 1) - 1);
      this.group = { docInfo: new Tensor(gpu, 'doc_info', [P, 4]), table: new Tensor(gpu, 'group_table', [G, 8]), own: new Tensor(gpu, 'group_own', [G, 4]), state: new Tensor(gpu, 'method_state', [24]) };
      this.setMethodState();
    }

    const needsHidden = loss.needs.reference === 'hidden' || (reference.kind !== 'none' && settings.criterionColumns);
    const mode: HeadMode = reference.kind === 'none' ? 'none' : needsHidden && !(reference.kind === 'cache' && !reference.head) ? 'hidden' : 'logps';
    if (mode !== 'none') this.refLogps = new Tensor(gpu, 'ref_logps', [S]);
    if (mode === 'hidden') this.refHidden = new Tensor(gpu, 'ref_hidden', [S, spec.D]);
    const headParameters = reference.kind === 'live' ? reference.parameters : reference.kind === 'cache' ? reference.head : undefined;
    const table = (p: Parameters): Tensor[] => headTable(p).map((piece) => piece.value);
    this.head = new Head({
      gpu, S, D: spec.D, V: spec.V, mode,
      pieces: table(policy),
      ...(options.training && headTable(policy)[0]!.moments ? { dPieces: headTable(policy).map((piece) => piece.moments!.grad) } : {}),
      ...(mode === 'hidden' ? { refPieces: table(headParameters!) } : {}),
      rounded: reference.kind === 'cache' && reference.rounded,
      bf16: settings.criterion === 'bf16-trl' && mode === 'hidden',
      softCap: spec.logitSoftCap,
      epsilon: settings.epsilonCheck,
      klGradient: loss.needs.klGradient !== undefined,
      terms: hasTerms(needs) ? { weighted: needs.tokenWeights !== undefined, square: needs.sharpness === true, refEntropy: needs.refEntropy === true } : undefined,
      realign: options.realign,
      ...(options.tile ? { tile: options.tile } : {}),
    });

    if (gpu.mixed) {
      const models = [policy, ...(reference.kind === 'live' || mode === 'hidden' ? [headParameters!] : [])];
      const states = mode !== 'hidden' ? 0 : reference.kind === 'cache' && reference.rounded ? 2 : 1;
      this.operands = new Operands(gpu, gpu.mixed, models, { rows: this.axes.N.capacity, headTile: options.tile ?? HEAD_TILE, states, training: options.training });
    }
    const store = this.operands?.store;
    const parts: TransformerParts = { spec, parameters: policy, batch: this.batch, acts: this.acts };
    this.forwardProgram = new Program(gpu, 'forward');
    const f = this.forwardProgram;
    if (reference.kind === 'live') f.scope('reference', () => f.mixed(store, () => this.recordReference(f, reference.parameters)));
    f.mixed(store, () => forward(f, parts));
    const headInputs = { hidden: this.acts.hidden, labels: this.batch.labels, tokenWeights: this.tokenWeights };
    f.mixed(store, () => this.head.forward(f, {
      ...headInputs,
      ...(this.refLogps ? { refLogps: this.refLogps } : {}),
      ...(this.refHidden ? { refHidden: this.refHidden } : {}),
    }));
    seqSum(f, { stats: this.head.stats, seqStart: this.batch.seqStart, seqStats: this.seqStats });
    if (this.seqTerms) seqSum(f, { stats: this.head.terms!, seqStart: this.batch.seqStart, seqStats: this.seqTerms });
    const { group } = this;
    if (group && loss.group) {
      this.gatherProgram = new Program(gpu, 'group table');
      groupGather(this.gatherProgram, { seqStats: this.seqStats, group }, loss.needs.branches);
      this.statsProgram = new Program(gpu, 'group statistics');
      groupStats(this.statsProgram, { betaState: this.betaState, group }, { loss, group: loss.group, settings });
    }
    this.lossProgram = new Program(gpu, 'loss');
    if (this.lists) documentListLoss(this.lossProgram, { seqStats: this.seqStats, seqStart: this.batch.seqStart, ...this.lists, coef: this.coef, pairs: this.pairs }, { loss, settings });
    else documentLoss(
      this.lossProgram,
      {
        seqStats: this.seqStats, seqTerms: this.seqTerms, seqStart: this.batch.seqStart, betaState: this.betaState,
        coef: this.coef, pairs: this.pairs, stepCounts: this.stepCounts, group,
      },
      { loss, settings, hidden: mode === 'hidden', vocab: spec.V },
    );

    if (options.training) {
      this.scratch = new BackwardScratch(gpu, spec, this.axes);
      const scratch = this.scratch;
      const b = new Program(gpu, 'backward');
      this.backwardProgram = b;
      b.mixed(store, () => {
        this.head.backward(b, { ...headInputs, coef: this.coef, seqOf: this.batch.seqOf, dHidden: scratch.dHidden, ...(this.refHidden ? { refHidden: this.refHidden } : {}) });
        backward(b, parts, scratch);
      });
      this.learnedMask?.recordBackward(b, { coef: this.coef, seqOf: this.batch.seqOf, stats: this.head.stats });
      this.optimiserState = new OptimiserState(gpu, policy.trained, options.optimiser ?? optimisers.adamw_torch, options.optimiserSettings ?? { momentum: 0 }, this.learnedMask?.parameters);
      this.optimiserProgram = this.recordOptimiser(new Program(gpu, 'optimiser'), this.optimiserState);
    }
    this.pairRing = new ReadbackRing(gpu, this.pairs.bytes, 4);
    this.stateRing = new ReadbackRing(gpu, this.stepState.bytes + this.betaState.bytes + (this.operands?.lossScale?.bytes ?? 0), 3);
  }

  /** The reference's own forward on the same batch: its scored hidden states and its label log-probs. */
  private recordReference(p: Program, parameters: Parameters): void {
    const { gpu } = this.options;
    const { spec } = parameters;
    const rows = this.axes.N.capacity;
    if (longFrom(spec, rows) !== longFrom(this.options.policy.spec, rows)) throw new InputError('policy and reference turn long documents by other rotary angles from different lengths on', '--ref_mode cache');
    const acts = new Activations(gpu, spec, this.axes, 'forward', 'reference', parameters.adapters);
    const head = new Head({ gpu, S: this.axes.S, D: spec.D, V: spec.V, mode: 'none', pieces: headTable(parameters).map((x) => x.value), rounded: false, bf16: false, softCap: spec.logitSoftCap, ...(this.options.tile ? { tile: this.options.tile } : {}) });
    const mask = this.learnedMask ? { afterLayer: this.learnedMask.recordForward(this.batch) }
      : this.options.loss.needs.tokenWeights?.from === 'mapo' ? { afterLayer: mapoMask(gpu, this.axes, this.batch, spec.L, this.tokenWeights!) } : {};
    forward(p, { spec, parameters, batch: this.batch, acts, ...mask });
    head.forward(p, { hidden: acts.hidden, labels: this.batch.labels });
    takeColumn(p, { x: head.stats, y: this.refLogps! }, 0);
    if (this.refHidden) p.copy(acts.hidden, this.refHidden);
  }

  /** Every trained tensor: the policy's, and a method's own. */
  get trainedPieces(): Piece[] {
    return [...this.options.policy.trained.pieces, ...(this.learnedMask?.parameters.pieces ?? [])];
  }

  private recordOptimiser(p: Program, state: OptimiserState): Program {
    const { gpu, policy, settings } = this.options;
    const pieces = this.trainedPieces;
    const partials = new Tensor(gpu, 'grad_norm partials', [pieces.length * PARTIAL_SLOTS]);
    clearNow(partials);
    pieces.forEach((piece, i) => gradNorm(p, { grad: piece.moments!.grad, partials }, i * PARTIAL_SLOTS));
    stepState(p, { partials, stepState: this.stepState }, { maxNorm: scalar('maxGradNorm'), beta1: scalar('beta1'), beta2: scalar('beta2'), oneMinusBeta1: scalar('oneMinusBeta1'), oneMinusBeta2: scalar('oneMinusBeta2') });
    state.record(p, this.stepState);
    for (const piece of pieces) p.clear(piece.moments!.grad);
    betaUpdate(p, { betaState: this.betaState, stepCounts: this.stepCounts, stepState: this.stepState }, settings);
    if (this.group && this.options.loss.group) methodCommit(p, { stepState: this.stepState, group: this.group });
    this.operands?.recordStep(p, this.stepState, policy);
    return p;
  }

  async ready(): Promise<this> {
    await Promise.all([this.forwardProgram, this.gatherProgram, this.statsProgram, this.lossProgram, this.backwardProgram, this.optimiserProgram].map((p) => p?.ready()));
    await this.operands?.prepare();
    this.options.gpu.check();
    return this;
  }

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

  private setMethodState(from: ArrayLike<number> = Object.values(this.options.loss.group?.state ?? {})): void {
    const state = new Float32Array(24);
    for (const at of [0, 16]) state.set(from, at);
    this.group?.state.write(state);
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
    if (part.whole) for (const program of [this.gatherProgram, this.statsProgram]) program?.encode(encoder, values);
    this.lossProgram.encode(encoder, values);
    if (train) this.backwardProgram!.encode(encoder, values);
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
    this.gatherProgram!.encode(encoder, values);
    if (last) this.statsProgram!.encode(encoder, values);
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
      this.lists.docStart.write(Uint32Array.from([0, ...documents.map((_, i) => documents.slice(0, i + 1).reduce((n, d) => n + d.branches.length, 0))]));
      this.lists.scores.write(Float32Array.from(documents.flatMap((d) => d.scores!)));
    }
    const weights = loss.needs.tokenWeights;
    if (weights?.from === 'data' || weights?.from === 'length') this.tokenWeights!.write(tokenWeights(documents, weights, loss.needs.scored === 'all'));
    this.group?.docInfo.write(Float32Array.from(documents.flatMap((d, i) => [part.places[i]!, d.desirable === false ? 0 : 1, part.uniforms[i]!, 0])));
    const values: StepValues = { ...batch.values, invCount: o.invCount, perToken: o.perToken, training: train ? 1 : 0, measureScales: this.measure ? 1 : 0, ...this.groupValues(batch, part, o.first), ...this.dropoutValues(documents, batch, train) };
    const encoder = gpu.device.createCommandEncoder({ label: 'micro-batch' });
    this.batch.upload(encoder, batch);
    this.forwardProgram.encode(encoder, values);
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

  /** Submits clipping, the optimiser's update and that of β; the returned function waits for the record. */
  optimise(o: OptimiserValues & { weightDecay: number }): () => Promise<StepRecord> {
    const { gpu } = this.options;
    const encoder = gpu.device.createCommandEncoder({ label: 'optimiser step' });
    this.optimiserProgram!.encode(encoder, optimiserScalars(o, this.stepKey));
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

  /** One whole step with a timestamp around every dispatch (benchmarks); slower than a plain one. */
  async profileStep(documents: Document[], invCount: number, o: OptimiserValues & { weightDecay: number }, profiler: Profiler): Promise<DispatchTime[]> {
    const { gpu, loss } = this.options;
    const batch = pack(documents, loss.needs.scored === 'all');
    const part = wholeGroup(documents);
    this.group?.docInfo.write(Float32Array.from(documents.flatMap((d, i) => [i, d.desirable === false ? 0 : 1, part.uniforms[i]!, 0])));
    const encoder = gpu.device.createCommandEncoder({ label: 'profiled step' });
    this.batch.upload(encoder, batch);
    const values = { ...batch.values, ...this.groupValues(batch, part, 0), invCount, perToken: 0, training: 1, measureScales: this.measure ? 1 : 0, ...this.dropoutValues(documents, batch, true), ...optimiserScalars(o, this.stepKey) };
    for (const program of [this.forwardProgram, this.gatherProgram, this.statsProgram, this.lossProgram, this.backwardProgram!, this.optimiserProgram!]) program?.encode(encoder, values, profiler);
    const read = profiler.finish(encoder);
    gpu.device.queue.submit([encoder.finish()]);
    return read();
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

/** The table the head projects with: the embedding where tied. */
export const headTable = (p: Parameters): Parameters['list'][number]['pieces'] => p.get(p.spec.tied ? p.spec.names.embed : p.spec.names.head).pieces;
