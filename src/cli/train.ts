import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { resolvedYaml } from '../config/load.js';
import { AUTO_BUDGET, type RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import { chooseBudget, dryRun } from '../model/auto_budget.js';
import { Engine } from '../model/engine.js';
import { writeAtomic } from '../model/files/atomic.js';
import { lockFolder } from '../model/files/lock.js';
import { loadPolicy, loraMemory, loraOf, sharesBase, writeTrained } from '../model/lora_run.js';
import { loadFrozen, referenceStorage } from '../model/frozen.js';
import { describeHeadTiles, describeMemory } from '../model/memory.js';
import { trainingMemory } from '../model/memory_advice.js';
import { requireMemory } from '../model/memory_changes.js';
import { bcoWeights, requireLabels } from '../model/density_ratio/index.js';
import { bytesText } from '../model/reference.js';
import { documentsOf, groupSizeOf, longestRows, lossFor, lossOf, mismatchRoom, openDevice, openInputs, openSplit, requireBothKinds, requireBudget, sequenceCapacity, settingsOf, sidesOf, useDtype } from '../model/session.js';
import { AppendLog } from '../model/train/append_log.js';
import { checkpointBudget, checkpointHeadTiles, findCheckpoint, hasRun, listCheckpoints, readState, removePartials, restoreWeights, rotate, writeCheckpoint, type TrainState } from '../model/train/checkpoint.js';
import type { Parameters } from '../model/parameters.js';
import { optimisers } from '../model/optim/index.js';
import { optimiserSettings } from '../model/optim/settings.js';
import { stepPlan, stillReference } from '../model/train/plan.js';
import { ReferenceSync } from '../model/train/reference_sync.js';
import { openSinks } from '../model/train/sinks/index.js';
import { Trainer, type Ending } from '../model/train/trainer.js';
import { LiveReport } from '../report/live.js';
import type { CliIo } from './io.js';
import { openReference } from './train_reference.js';
import { restoreBest, withCheckpoint, writeOutputs } from './train_result.js';
import { freshState, identityOf } from './train_state.js';

/** `edpo train` and `edpo sft`. */
export async function run(asked: RunConfig, io: CliIo): Promise<number> {
  let config = asked;
  const inputs = await openInputs(config, io);
  const lora = loraOf(config, inputs, io);
  const adapters = loraMemory(config, inputs, lora);
  const dir = config.output_dir!;
  const resume = config.resume_from_checkpoint;
  const from = resume !== undefined && resume !== false ? findCheckpoint(dir, resume) : undefined;
  if (!from && hasRun(dir) && !config.overwrite_output_dir) {
    throw new InputError(`${dir} already holds a run`, '--resume to continue it, --overwrite_output_dir true to start anew, or another --output_dir');
  }
  const sides = sidesOf(lossOf(config));
  const train = await openSplit(config, inputs, 'train', sides, io);
  const evalStore = config.eval_strategy !== 'no' ? await openSplit(config, inputs, 'eval', sides, io) : undefined;
  const loss = lossFor(config, train, evalStore);
  requireBothKinds(train, loss, config, io);
  requireLabels(config, train, evalStore);
  const room = mismatchRoom(config, inputs.policy);
  const source = documentsOf(train, loss, room);
  const evalSource = evalStore && documentsOf(evalStore, loss, room);
  const plan = stepPlan(config, source.count);
  const still = stillReference(config, plan);
  if (still) io.warn(still);
  const auto = config.token_budget === AUTO_BUDGET;
  const opened = auto ? await openDevice(config, io) : undefined;
  if (auto) config = { ...config, token_budget: from ? checkpointBudget(from) : chooseBudget(opened!, config, inputs, loss, adapters, [source, ...(evalSource ? [evalSource] : [])], plan.batch, io) };
  if (from && config.head_tiles === 'auto') config = { ...config, head_tiles: checkpointHeadTiles(from) };
  requireBudget(source, config.token_budget);
  if (evalSource) requireBudget(evalSource, config.token_budget);

  const needs = loss.needs.reference;
  const memory = trainingMemory(inputs.policy.spec, loss, config, adapters, config.token_budget, (p) => inputs.policy.formatOf(p));
  io.say(`plan: ${plan.totalSteps} optimiser steps of ${plan.batch} documents (${plan.stepsPerEpoch} an epoch, ${plan.schedule.warmupSteps} of warm-up); ${describeMemory(memory, bytesText)}; the head’s logits ${describeHeadTiles(memory)}`);
  let longest = 0;
  for (let i = 0; i < source.count; i++) longest = Math.max(longest, longestRows(source, i));
  requireMemory({ spec: inputs.policy.spec, loss, config, lora: adapters, longest, files: (p) => inputs.policy.formatOf(p) }, memory);

  const unlock = lockFolder(dir, (n) => io.say(`note: ${n}`));
  let trainer: Trainer | undefined;
  let interrupted = false;
  const undo = io.onInterrupt((signal) => {
    interrupted = true;
    io.say(`\n${signal}: finishing the step and writing a checkpoint (once more ends at once)`);
    trainer?.interrupt();
  });
  try {
    removePartials(dir);
    if (!from) for (const c of listCheckpoints(dir)) rmSync(c.path, { recursive: true });
    writeAtomic(join(dir, 'config.yaml'), resolvedYaml(asked));
    const gpu = useDtype(opened ?? (await openDevice(config, io)), config);
    const { policy, base } = await loadPolicy(gpu, inputs, lora, config, io);
    // A LoRA run's reference is its own frozen base: no second model.
    const shared = sharesBase(inputs, lora);
    const write = (to: string): Promise<void> => writeTrained(to, config, inputs, lora, policy);
    const whole = async (): Promise<Parameters> => (shared ? base : loadFrozen(gpu, inputs.reference, 'reference', config, { io, ...referenceStorage(config) }));

    const { reference, trainRows, evalRows } = await openReference({ config, io, gpu, inputs, loss, train, evaluation: evalStore, base: shared ? base : undefined, whole, stop: () => interrupted });
    const ratios = await bcoWeights(config, { gpu, io, reference: async () => (reference.kind === 'live' ? reference.parameters : whole()), train, evaluation: evalStore, dir });
    const settings = settingsOf(config);
    const engine = await new Engine({
      gpu, policy, loss, settings, reference, training: true, gradientCheckpointing: config.gradient_checkpointing && (config.gradient_checkpointing_granularity === 'mlp' ? 'mlp' : true), activations: config.activation_dtype, headTiles: memory.headTiles, optimiser: optimisers[config.optim], optimiserSettings: optimiserSettings(config),
      capacity: { rows: config.token_budget, sequences: sequenceCapacity(config.token_budget) }, groupSize: groupSizeOf(config), seed: config.seed,
    }).ready();

    const sync = config.sync_ref_model && reference.kind === 'live' ? await new ReferenceSync(policy, reference.parameters, config.ref_model_mixup_alpha, config.ref_model_sync_steps, (p) => engine.operands?.pack(p, reference.parameters)).ready() : undefined;
    const identity = identityOf({ config, inputs, gpu, loss, train, documents: source.count, plan, settings, headTiles: memory.headTiles, lora, ratios, synced: sync !== undefined });
    const state = from ? readState(from, identity) : freshState(settings.beta, identity);
    if (from) {
      restoreWeights(from, engine.optimiserState!, sync?.reference);
      io.say(`resuming after step ${state.step} of ${plan.totalSteps} from ${from}`);
    }
    if (auto) io.say(`dry step on the ${await dryRun(engine, source, trainRows, plan.batch)} longest documents`);
    engine.setState(state.beta, state.stepState.length > 0 ? Float32Array.from(state.stepState) : undefined, state.methodState);
    if (state.operands) engine.setOperands(state.operands);
    if (from) await engine.operands?.repack();
    const ledger = new AppendLog(join(dir, 'pairs.ndjson'), state.offsets.ledger);
    const log = new AppendLog(join(dir, 'trainer_log.jsonl'), state.offsets.log);
    const report = config.report_html ? new LiveReport(dir, (text) => io.warn(text)) : undefined;
    const sinks = openSinks(config.report_to, dir, { step: state.step, resumed: from !== undefined }, report ? [report] : []);
    const save = async (s: TrainState): Promise<void> => {
      s.stepState = [...(await engine.readStepState())];
      const method = await engine.readMethodState();
      if (method) s.methodState = [...method];
      if (engine.operands) s.operands = await engine.operands.state();
      ledger.sync();
      log.sync();
      sinks.sync();
      const path = await writeCheckpoint(dir, s, { write, optimiser: engine.optimiserState!, reference: sync?.reference });
      rotate(dir, config.save_total_limit, s.best?.step);
      io.log.info({ path }, 'checkpoint');
    };
    trainer = new Trainer({
      config, io, engine, plan, sync, train: ratios?.weighted(source, 'train') ?? source, trainReference: trainRows, state, ledger, log, sinks, save,
      evaluation: evalSource ? { source: ratios?.weighted(evalSource, 'eval') ?? evalSource, reference: evalRows } : undefined,
      columns: { reference: needs !== 'none', hidden: needs === 'hidden' },
    });
    if (interrupted) trainer.interrupt();
    let ending: Ending;
    try {
      ending = await trainer.run();
    } catch (error) {
      throw withCheckpoint(error, loss.name === 'sft' ? 'sft' : 'train', dir, gpu.lost);
    } finally {
      ledger.close();
      log.close();
      sinks.close();
    }
    if (ending === 'interrupted') {
      const last = listCheckpoints(dir).at(-1)!;
      await report?.finish();
      throw new EdpoError(`interrupted after step ${state.step}; checkpoint ${last.path}`, { exitCode: 130, hint: 'the same command with --resume continues' });
    }
    io.say(ending === 'early_stop' ? `stopped early at step ${state.step}: no better ${config.metric_for_best_model} in ${config.early_stopping_patience} evaluations` : `done after ${state.step} steps`);
    restoreBest(dir, config, state, engine.optimiserState!, io);
    await writeOutputs(dir, { config, asked, inputs, gpu, state, loss, train, evaluation: evalStore, memory, lora, write, report, io });
    gpu.close();
    return 0;
  } finally {
    undo();
    unlock();
    train.close();
    evalStore?.close();
  }
}
