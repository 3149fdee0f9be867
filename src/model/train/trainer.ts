import type { CliIo } from '../../cli/io.js';
import { Progress } from '../../cli/progress.js';
import type { RunConfig } from '../../config/keys.js';
import { EdpoError } from '../../errors.js';
import { LOSS_SCALE } from '../../gpu/ops/operand_scales.js';
import { stepKey } from '../batch/row_keys.js';
import { epochOrder } from '../data/order.js';
import type { Engine } from '../engine.js';
import type { StepRecord } from '../engine_types.js';
import type { AppendLog } from './append_log.js';
import { stepScale, submitDocuments, type PairTables } from './batches.js';
import type { TrainState } from './checkpoint.js';
import { evaluate, summarise } from './evaluate.js';
import { ledgerLine } from './lines.js';
import { rateAt, type StepPlan } from './plan.js';
import { pairRecords } from './records.js';
import type { LogSink } from './sinks/types.js';
import type { ReferenceSync } from './reference_sync.js';
import type { DocumentSource, ReferenceSource } from './types.js';

export interface TrainerParts {
  config: RunConfig;
  io: CliIo;
  engine: Engine;
  plan: StepPlan;
  train: DocumentSource;
  trainReference: ReferenceSource;
  evaluation: { source: DocumentSource; reference: ReferenceSource } | undefined;
  /** What the head computes of the reference. */
  columns: { reference: boolean; hidden: boolean };
  /** Moves the reference (TR-DPO). */
  sync: ReferenceSync | undefined;
  state: TrainState;
  ledger: AppendLog;
  log: AppendLog;
  /** Where log lines go besides. */
  sinks: LogSink;
  /** Writes a checkpoint of `state`. */
  save(state: TrainState): Promise<void>;
}

interface Pending {
  step: number;
  started: number;
  positions: number[];
  read: () => Promise<PairTables>;
  record: () => Promise<StepRecord>;
}

/** Why a run ended. */
export type Ending = 'done' | 'interrupted' | 'early_stop';

/** The loop: submits a step, finishes the one before it, and drains only to evaluate, to save or to end. */
export class Trainer {
  private order: Uint32Array | undefined;
  private orderEpoch = -1;
  private sinceLogMs = 0;
  private sinceLogTokens = 0;
  private interrupted = false;
  /** Of the last finished step, in mixed precision. */
  private lossScale: number | undefined;
  private progress: Progress;

  constructor(private readonly p: TrainerParts) {
    this.progress = new Progress(p.io, 'train', p.plan.totalSteps, p.state.step);
  }

  interrupt(): void {
    this.interrupted = true;
  }

  async run(): Promise<Ending> {
    const { plan, state, config, engine } = this.p;
    const late = engine.options.gpu.uses('late_reading');
    if (state.step === 0 && this.p.evaluation && plan.evalSteps > 0 && config.eval_on_start) {
      await this.evaluate(0);
      if (config.load_best_model_at_end) await this.p.save(state);
    }
    let pending: Pending | undefined;
    for (let step = state.step; step < plan.totalSteps; step++) {
      const next = await this.submit(step);
      if (pending) await this.finish(pending);
      pending = next;
      const done = step + 1;
      const evaluates = this.p.evaluation !== undefined && plan.evalSteps > 0 && (done % plan.evalSteps === 0 || done === plan.totalSteps);
      const saves = plan.saveSteps > 0 && (done % plan.saveSteps === 0 || done === plan.totalSteps);
      if (late && !evaluates && !saves && !this.interrupted && done < plan.totalSteps) continue;
      await this.finish(pending);
      pending = undefined;
      const stop = evaluates ? await this.evaluate(done) : false;
      // A new best is worth a checkpoint where the run's result is to be the best one.
      const best = config.load_best_model_at_end && evaluates && state.best?.step === done;
      if (saves || stop || best || this.interrupted) await this.p.save(state);
      if (this.interrupted && done < plan.totalSteps) return 'interrupted';
      if (stop) return 'early_stop';
    }
    if (pending) await this.finish(pending);
    return 'done';
  }

  /** Positions of a step's documents, from (seed, epoch) alone. */
  private positions(step: number): number[] {
    const { plan, config } = this.p;
    const epoch = Math.floor(step / plan.stepsPerEpoch);
    if (epoch !== this.orderEpoch) {
      this.order = epochOrder(plan.documents, config.data_seed ?? config.seed, epoch, config.shuffle);
      this.orderEpoch = epoch;
    }
    const at = (step % plan.stepsPerEpoch) * plan.batch;
    return [...this.order!.subarray(at, at + plan.batch)];
  }

  private async submit(step: number): Promise<Pending> {
    const { engine, plan, train, trainReference, config } = this.p;
    this.fault(step);
    const started = Date.now();
    const positions = this.positions(step);
    engine.stepKey = stepKey(config.seed, step);
    const scale = stepScale(train, positions, engine.options.loss.needs);
    const read = await submitDocuments(engine, train, trainReference, positions, { ...scale, train: true, draw: [config.seed, step] });
    const record = engine.optimise({
      lr: rateAt(plan, step), beta1: config.adam_beta1, beta2: config.adam_beta2, epsilon: config.adam_epsilon, maxGradNorm: config.max_grad_norm, weightDecay: config.weight_decay,
    });
    this.p.sync?.after(step + 1);
    return { step, started, positions, read, record };
  }

  private async finish({ step, started, read, record }: Pending): Promise<void> {
    const { state, engine, ledger, config, io, plan } = this.p;
    const tables = await read();
    const result = await record();
    const records = pairRecords(tables, step + 1, engine.options.loss, this.p.columns);
    if (result.skipped) {
      const broken = records.filter((r) => !Number.isFinite(r.loss)).map((r) => r.id);
      const what = `step ${step + 1}: ${broken.length > 0 ? `non-finite loss in pair ${broken.slice(0, 8).join(', ')}${broken.length > 8 ? ', …' : ''}` : 'non-finite gradient'}; weights, moments and β were not moved`;
      // An f16 operand ran over: the loss itself is finite, and the scale has been lowered for the next step.
      const overflow = result.lossScale !== undefined && broken.length === 0 && result.lossScale > LOSS_SCALE.lowest;
      if (config.on_nonfinite === 'stop' && !overflow) {
        throw new EdpoError(what, { hint: 'look at that pair with edpo inspect, lower --learning_rate, or go on with --on_nonfinite skip (and --resume)' });
      }
      io.warn(overflow ? `${what} (an f16 operand ran over; the loss scale is ${result.lossScale} now)` : what);
    } else {
      for (const r of records) ledger.append(ledgerLine(r));
      state.sinceLog.push(...records);
    }
    // A mismatched response behind the document's own is nothing to learn from.
    const own = engine.options.loss.group?.of === 'mismatched' ? engine.options.loss.needs.branches : undefined;
    const tokens = tables.documents.reduce((n, d) => n + d.prompt.length + d.branches.slice(0, own).reduce((m, b) => m + b.length, 0), 0);
    state.step = step + 1;
    state.numTokens += tokens;
    state.betaBefore = state.beta;
    state.beta = result.beta;
    state.gradNorm = result.gradNorm;
    this.lossScale = result.lossScale;
    this.sinceLogTokens += tokens;
    this.sinceLogMs += Date.now() - started;
    if ((step + 1) % plan.loggingSteps === 0 || step === 0 || step + 1 === plan.totalSteps) this.writeLog(step);
    const last = summarise(records, engine.options.loss);
    this.progress.update(step + 1, `loss ${last['loss']?.toFixed(4) ?? '-'}${last['rewards/accuracies'] !== undefined ? `  acc ${last['rewards/accuracies'].toFixed(2)}` : ''}${engine.options.loss.adaptiveBeta ? `  β ${result.beta.toPrecision(4)}` : ''}`);
    state.offsets.ledger = ledger.bytes;
  }

  /** One line per interval: means over its pairs. Fields of wall-clock time are the last ones and are not part of what a resume repeats. */
  private writeLog(step: number): void {
    const { state, plan, engine } = this.p;
    const metrics = summarise(state.sinceLog, engine.options.loss);
    const pairs = state.sinceLog.length;
    const line: Record<string, number> = { step: step + 1, epoch: (step + 1) / plan.stepsPerEpoch, ...metrics, grad_norm: state.gradNorm, learning_rate: rateAt(plan, step), num_tokens: state.numTokens };
    if (engine.options.loss.needs.branches === 2) line['kl/beta'] = state.betaBefore;
    if (this.lossScale !== undefined) line['loss_scale'] = this.lossScale;
    state.logHistory.push(line);
    const seconds = this.sinceLogMs / 1000;
    const timed = { ...line, tokens_per_second: this.sinceLogTokens / seconds, pairs_per_second: pairs / seconds, gpu_bytes: engine.options.gpu.bytesPeak, rss_bytes: process.memoryUsage.rss() };
    this.p.log.append(`${JSON.stringify(timed)}\n`);
    this.p.sinks.write(timed);
    state.offsets.log = this.p.log.bytes;
    state.sinceLog = [];
    this.sinceLogMs = 0;
    this.sinceLogTokens = 0;
  }

  /** @returns whether to stop early. */
  private async evaluate(step: number): Promise<boolean> {
    const { state, config, engine, plan, io } = this.p;
    const { source, reference } = this.p.evaluation!;
    const { metrics } = await evaluate(engine, source, reference, { step, ...this.p.columns });
    const line = Object.fromEntries([['step', step], ['epoch', step / plan.stepsPerEpoch], ...Object.entries(metrics).map(([k, v]) => [`eval_${k}`, v])]) as Record<string, number>;
    state.logHistory.push(line);
    this.p.log.append(`${JSON.stringify(line)}\n`);
    this.p.sinks.write(line);
    state.offsets.log = this.p.log.bytes;
    this.progress.clear();
    const se = metrics['rewards/accuracies_se'];
    io.say(`evaluation at step ${step}: loss ${metrics['loss']!.toFixed(4)}${metrics['loss_dpo'] !== undefined ? `, at the starting β ${metrics['loss_dpo'].toFixed(4)}` : ''}${se !== undefined ? `, accuracy ${metrics['rewards/accuracies']!.toFixed(3)} ± ${se.toFixed(3)}` : ''}`);
    const name = config.metric_for_best_model.replace(/^eval_/, '');
    const value = metrics[name];
    if (value === undefined) throw new EdpoError(`metric_for_best_model "${config.metric_for_best_model}" is not among the evaluation's: ${Object.keys(metrics).join(', ')}`, { exitCode: 2 });
    const greater = config.greater_is_better ?? !name.includes('loss');
    if (state.best === null || (greater ? value > state.best.metric : value < state.best.metric)) {
      state.best = { metric: value, step };
      state.badEvaluations = 0;
    } else {
      state.badEvaluations++;
    }
    return config.early_stopping_patience > 0 && state.badEvaluations >= config.early_stopping_patience;
  }

  /** EDPO_FAULT=device_lost:STEP drops the device as a driver would: the error path is tested through the real command. */
  private fault(step: number): void {
    const [kind, at] = (process.env['EDPO_FAULT'] ?? '').split(':');
    if (kind === 'device_lost' && Number(at) === step) this.p.engine.options.gpu.loseForTest();
    this.p.engine.options.gpu.check();
  }
}
