import { InputError } from '../errors.js';
import { betaUpdate } from '../gpu/ops/beta_update.js';
import { documentListLoss } from '../gpu/ops/document_list_loss.js';
import { PAIR_COLUMNS, documentLoss, isCoupled } from '../gpu/ops/document_loss.js';
import { gradNorm, gradNormSlots, stepState } from '../gpu/ops/grad_norm.js';
import { type GroupTensors, groupGather, groupStats, methodCommit } from '../gpu/ops/group_stats.js';
import { Head, type HeadMode } from '../gpu/ops/head.js';
import { TERMS } from '../gpu/ops/head_kernels.js';
import { plainForm } from '../gpu/ops/matmul.js';
import { seqSum } from '../gpu/ops/seq_sum.js';
import { reserveSplitRoom } from '../gpu/ops/split_sum.js';
import { takeColumn } from '../gpu/ops/take_column.js';
import { Program, scalar } from '../gpu/program.js';
import { ReadbackRing } from '../gpu/readback.js';
import { Dyn, Tensor } from '../gpu/tensor.js';
import { inMatrices } from './adapter_operands.js';
import { Activations, BackwardScratch, type KeepMode } from './activations.js';
import { type BatchAxes, BatchTensors, batchAxes } from './batch/tensors.js';
import type { EngineOptions } from './engine_types.js';
import { LearnedMask } from './learned_mask.js';
import { hasTerms, wantsLive } from './losses/types.js';
import { splitElements } from './operand_sizes.js';
import { Operands } from './operands.js';
import { operandTensorsOf } from './operand_tensors.js';
import { optimisers } from './optim/index.js';
import { OptimiserState } from './optim/state.js';
import { type Parameters, clearNow } from './parameters.js';
import { longFrom } from './rotary.js';
import { mapoMask } from './token_mask.js';
import { forward, type TransformerParts } from './transformer.js';
import { backward } from './transformer_backward.js';

/** How many micro-batches of a step may wait for their tables at once. */
export const IN_FLIGHT = 3;

/**
 * The recorded programs of one run: forward with the loss, backward, optimiser. Everything is allocated when it
 * is built; a step only uploads one packed batch and re-encodes the lists (design 4).
 */
export class RecordedRun {
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
  protected readonly lists: { docStart: Tensor; scores: Tensor } | undefined;
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
  protected measure = true;
  protected readonly scratch: BackwardScratch | undefined;
  protected readonly forwardProgram: Program;
  /** A loss over groups: a micro-batch's sums to the group's table, statistics of the table. */
  protected readonly gatherProgram: Program | undefined;
  protected readonly statsProgram: Program | undefined;
  protected readonly lossProgram: Program;
  protected readonly backwardProgram: Program | undefined;
  protected readonly optimiserProgram: Program | undefined;
  /** What the optimiser keeps of what is trained. */
  readonly optimiserState: OptimiserState | undefined;
  /** Number of the optimiser step (`stepKey`) for dropout's masks and the rounding of packed weights. */
  stepKey = 0;
  protected readonly pairRing: ReadbackRing;
  protected readonly stateRing: ReadbackRing;

  constructor(readonly options: EngineOptions) {
    const { gpu, policy, capacity, reference, loss, settings } = options;
    const { spec } = policy;
    this.axes = batchAxes(capacity);
    const { S, Q, P } = this.axes;
    this.batch = new BatchTensors(gpu, this.axes, longFrom(spec, this.axes.N.capacity));
    const keep: KeepMode = !options.training ? 'forward' : options.gradientCheckpointing === 'mlp' ? 'mlp' : options.gradientCheckpointing ? 'checkpoint' : 'train';
    this.acts = new Activations(gpu, spec, this.axes, keep, 'policy', policy.adapters, options.activations, operandTensorsOf(gpu, policy));
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
      ...(options.training ? { tiles: options.headTiles } : {}),
      ...(options.tile ? { tile: options.tile } : {}),
    });

    if (gpu.mixed) {
      const models = [policy, ...(reference.kind === 'live' || mode === 'hidden' ? [headParameters!] : [])];
      const states = mode !== 'hidden' ? 0 : reference.kind === 'cache' && reference.rounded ? 2 : 1;
      this.operands = new Operands(gpu, gpu.mixed, models, { rows: this.axes.N.capacity, headTile: this.head.width, states, training: options.training });
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
      this.scratch = new BackwardScratch(gpu, spec, this.axes, operandTensorsOf(gpu, policy));
      const scratch = this.scratch;
      reserveSplitRoom(gpu, splitElements(policy.trained.list, spec, gpu, { rows: this.axes.N.capacity, headTile: this.head.width, mixed: gpu.mixed, adapters: inMatrices(gpu, policy), tiled: plainForm(gpu) === 'tiled' }));
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
    // The last ones of the step before wait beside this step's.
    this.pairRing = new ReadbackRing(gpu, this.pairs.bytes, 2 * IN_FLIGHT - 1);
    this.stateRing = new ReadbackRing(gpu, this.stepState.bytes + this.betaState.bytes + (this.operands?.lossScale?.bytes ?? 0), 3);
  }

  /** The reference's own forward on the same batch: its scored hidden states and its label log-probs. */
  private recordReference(p: Program, parameters: Parameters): void {
    const { gpu } = this.options;
    const { spec } = parameters;
    const rows = this.axes.N.capacity;
    if (longFrom(spec, rows) !== longFrom(this.options.policy.spec, rows)) throw new InputError('policy and reference turn long documents by other rotary angles from different lengths on', '--ref_mode cache');
    const acts = new Activations(gpu, spec, this.axes, 'forward', 'reference', parameters.adapters, 'float32', operandTensorsOf(gpu, parameters));
    const head = new Head({ gpu, S: this.axes.S, D: spec.D, V: spec.V, mode: 'none', pieces: headTable(parameters).map((x) => x.value), rounded: false, bf16: false, softCap: spec.logitSoftCap, ...(this.options.tile ? { tile: this.options.tile } : {}) });
    const mask = this.learnedMask ? { afterLayer: this.learnedMask.recordForward(this.batch) }
      : this.options.loss.needs.tokenWeights?.from === 'mapo' ? { afterLayer: mapoMask(gpu, this.axes, this.batch, spec.L, this.tokenWeights!) } : {};
    forward(p, { spec, parameters, batch: this.batch, acts, ...mask });
    head.forward(p, { hidden: acts.hidden, labels: this.batch.labels });
    takeColumn(p, { x: head.stats, y: this.refLogps! }, 0);
    if (this.refHidden) p.copy(acts.hidden, this.refHidden);
  }

  /** What is trained: the policy, and a method's own. */
  private get trained(): Parameters[] {
    return [this.options.policy.trained, ...(this.learnedMask ? [this.learnedMask.parameters] : [])];
  }

  /** Records zeroing all gradients. */
  clearGradients(p: Program): void {
    for (const grad of this.trained.flatMap((parameters) => parameters.gradients)) p.clear(grad);
  }

  private recordOptimiser(p: Program, state: OptimiserState): Program {
    const { gpu, policy, settings } = this.options;
    const grads = this.trained.flatMap((parameters) => parameters.pieces.map((piece) => piece.moments!.grad));
    const partials = new Tensor(gpu, 'grad_norm partials', [gradNormSlots(grads)]);
    clearNow(partials);
    gradNorm(p, { grads, partials });
    stepState(p, { partials, stepState: this.stepState }, { maxNorm: scalar('maxGradNorm'), beta1: scalar('beta1'), beta2: scalar('beta2'), oneMinusBeta1: scalar('oneMinusBeta1'), oneMinusBeta2: scalar('oneMinusBeta2') });
    // What moves a weight may write its f16 copy too: the rest is packed at the end.
    p.mixed(this.operands?.store, () => {
      state.record(p, this.stepState);
      this.operands?.recordStep(p, this.stepState, policy);
    });
    this.clearGradients(p);
    betaUpdate(p, { betaState: this.betaState, stepCounts: this.stepCounts, stepState: this.stepState }, settings);
    if (this.group && this.options.loss.group) methodCommit(p, { stepState: this.stepState, group: this.group });
    return p;
  }

  async ready(): Promise<this> {
    await Promise.all([this.forwardProgram, this.gatherProgram, this.statsProgram, this.lossProgram, this.backwardProgram, this.optimiserProgram].map((p) => p?.ready()));
    await this.operands?.prepare();
    this.options.gpu.check();
    return this;
  }

  protected setMethodState(from: ArrayLike<number> = Object.values(this.options.loss.group?.state ?? {})): void {
    const state = new Float32Array(24);
    for (const at of [0, 16]) state.set(from, at);
    this.group?.state.write(state);
  }
}

/** The table the head projects with: the embedding where tied. */
export const headTable = (p: Parameters): Parameters['list'][number]['pieces'] => p.get(p.spec.tied ? p.spec.names.embed : p.spec.names.head).pieces;
