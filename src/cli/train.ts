import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { resolvedYaml } from '../config/load.js';
import { AUTO_BUDGET, type RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import { chooseBudget, dryRun } from '../model/auto_budget.js';
import { Engine } from '../model/engine.js';
import type { ReferencePlan } from '../model/engine_types.js';
import type { TokenStore } from '../model/data/store.js';
import { writeAtomic } from '../model/files/atomic.js';
import { lockFolder } from '../model/files/lock.js';
import { modelCard, runManifest } from '../model/files/run_files.js';
import { dropoutOf, loadPolicy, loraMemory, loraOf, sharesBase, writeTrained } from '../model/lora_run.js';
import { frozenName, loadFrozen, referenceStorage } from '../model/frozen.js';
import { describeHeadTiles, describeMemory } from '../model/memory.js';
import { trainingMemory } from '../model/memory_advice.js';
import { requireMemory } from '../model/memory_changes.js';
import { bcoWeights, requireLabels } from '../model/density_ratio/index.js';
import { bytesText, ensureCache } from '../model/reference.js';
import { documentsOf, groupSizeOf, hasEvalData, headName, longestRows, lossFor, lossOf, mismatchRoom, openDevice, openInputs, openSplit, requireBothKinds, requireBudget, sequenceCapacity, settingsOf, sidesOf, useDtype } from '../model/session.js';
import { AppendLog } from '../model/train/append_log.js';
import { checkpointBudget, checkpointHeadTiles, findCheckpoint, hasRun, listCheckpoints, readState, removePartials, restoreWeights, rotate, trainerState, writeCheckpoint, type TrainState } from '../model/train/checkpoint.js';
import type { Parameters } from '../model/parameters.js';
import { optimisers } from '../model/optim/index.js';
import { optimiserSettings } from '../model/optim/settings.js';
import { stepPlan, stillReference } from '../model/train/plan.js';
import { ReferenceSync } from '../model/train/reference_sync.js';
import { openSinks } from '../model/train/sinks/index.js';
import { Trainer, type Ending } from '../model/train/trainer.js';
import { noReferenceRows, type ReferenceSource } from '../model/train/types.js';
import { LiveReport } from '../report/live.js';
import type { CliIo } from './io.js';

/** `edpo train` and `edpo sft`. */
export async function run(asked: RunConfig, io: CliIo): Promise<number> {
  let config = asked;
  const inputs = await openInputs(config, io);
  const lora = loraOf(config, inputs, io);
  const dir = config.output_dir!;
  const resume = config.resume_from_checkpoint;
  const from = resume !== undefined && resume !== false ? findCheckpoint(dir, resume) : undefined;
  if (!from && hasRun(dir) && !config.overwrite_output_dir) {
    throw new InputError(`${dir} already holds a run`, '--resume to continue it, --overwrite_output_dir true to start anew, or another --output_dir');
  }
  const wantsEval = config.eval_strategy !== 'no';
  if (wantsEval && !hasEvalData(config)) throw new InputError(`eval_strategy is ${config.eval_strategy}, but there are no evaluation data`, '--eval_data_files FILE, or a dataset_name that is a folder with a test split');
  const sides = sidesOf(lossOf(config));
  const train = await openSplit(config, inputs, 'train', sides, io);
  const evalStore = wantsEval ? await openSplit(config, inputs, 'eval', sides, io) : undefined;
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
  if (auto) config = { ...config, token_budget: from ? checkpointBudget(from) : chooseBudget(opened!, config, inputs, loss, loraMemory(config, inputs, lora), [source, ...(evalSource ? [evalSource] : [])], plan.batch, io) };
  if (from && config.head_tiles === 'auto') config = { ...config, head_tiles: checkpointHeadTiles(from) };
  requireBudget(source, config.token_budget);
  if (evalSource) requireBudget(evalSource, config.token_budget);

  const needs = loss.needs.reference;
  const memory = trainingMemory(inputs.policy.spec, loss, config, loraMemory(config, inputs, lora), config.token_budget, (p) => inputs.policy.formatOf(p));
  io.say(`plan: ${plan.totalSteps} optimiser steps of ${plan.batch} documents (${plan.stepsPerEpoch} an epoch, ${plan.schedule.warmupSteps} of warm-up); ${describeMemory(memory, bytesText)}; the head’s logits ${describeHeadTiles(memory)}`);
  let longest = 0;
  for (let i = 0; i < source.count; i++) longest = Math.max(longest, longestRows(source, i));
  requireMemory({ spec: inputs.policy.spec, loss, config, lora: loraMemory(config, inputs, lora), longest, files: (p) => inputs.policy.formatOf(p) }, memory);

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

    let reference: ReferencePlan = { kind: 'none' };
    let trainRows: ReferenceSource = noReferenceRows;
    let evalRows: ReferenceSource = noReferenceRows;
    if (needs !== 'none' && config.ref_mode !== 'cache') {
      reference = { kind: 'live', parameters: await whole() };
    } else if (needs !== 'none') {
      const open = (store: TokenStore, split: string): ReturnType<typeof ensureCache> =>
        ensureCache(config, inputs, store, split, loss, { gpu, io, reference: whole, mayWrite: true, stop: () => interrupted });
      const cache = await open(train, 'train');
      trainRows = cache.source;
      let exact = cache.exactTies;
      let differ = cache.kernels;
      if (evalStore) {
        const other = await open(evalStore, 'eval');
        evalRows = other.source;
        exact &&= other.exactTies;
        differ = [...new Set([...differ, ...other.kernels])];
      }
      if (!exact && loss.adaptiveBeta && config.criterion === 'exact') {
        throw new InputError(`this reference cache comes from another adapter or other kernels (${differ.join(', ')}), so ties between policy and reference are not exact`, differ.includes('arithmetic') ? 'the dtype the cache was made with, or make it anew (another --ref_cache)' : '--criterion deadzone --criterion_deadzone 1e-4 (f32 kernels differ by about 1e-5 in Δ), or make the cache on this adapter');
      }
      if (differ.includes('arithmetic')) io.warn('this reference cache was made in another dtype: policy and reference differ by rounding even where they are equal');
      const head = needs !== 'hidden' ? undefined : shared ? base : await loadFrozen(gpu, inputs.reference, 'reference head', config, { only: [headName(inputs.reference)] });
      reference = { kind: 'cache', ...(head ? { head } : {}), rounded: cache.rounded };
    }
    const ratios = await bcoWeights(config, { gpu, io, reference: async () => (reference.kind === 'live' ? reference.parameters : whole()), train, evaluation: evalStore, dir });
    const settings = settingsOf(config);
    const engine = await new Engine({
      gpu, policy, loss, settings, reference, training: true, gradientCheckpointing: config.gradient_checkpointing && (config.gradient_checkpointing_granularity === 'mlp' ? 'mlp' : true), activations: config.activation_dtype, headTiles: memory.headTiles, optimiser: optimisers[config.optim], optimiserSettings: optimiserSettings(config),
      capacity: { rows: config.token_budget, sequences: sequenceCapacity(config.token_budget) }, groupSize: groupSizeOf(config), seed: config.seed,
    }).ready();

    const sync = config.sync_ref_model && reference.kind === 'live' ? await new ReferenceSync(policy, reference.parameters, config.ref_model_mixup_alpha, config.ref_model_sync_steps, (p) => engine.operands?.pack(p, reference.parameters)).ready() : undefined;
    const identity = {
      loss: loss.name, data: train.hash, documents: source.count, batch: plan.batch, maxSteps: plan.totalSteps, epochs: config.num_train_epochs, stepsPerEpoch: plan.stepsPerEpoch,
      seed: config.data_seed ?? config.seed, shuffle: config.shuffle, model: inputs.policy.weightsHash(), reference: needs === 'none' ? null : inputs.reference.weightsHash(),
      tokenBudget: config.token_budget, adapter: gpu.name, learningRate: config.learning_rate, schedule: config.lr_scheduler_type, settings, dtype: config.dtype === 'float32' ? undefined : config.dtype, master: config.master_dtype === 'float32' ? undefined : config.master_dtype,
      optimiser: [config.optim, optimiserSettings(config)], activations: config.activation_dtype, headTiles: memory.headTiles === 'recomputed' ? undefined : memory.headTiles,
      ...(lora ? { lora: { ...lora, dropout: dropoutOf(config) } } : {}),
      ...(loss.needs.tokenWeights?.from === 'learned' ? { mask: loss.needs.tokenWeights.kind } : {}),
      ...(loss.group ? { group: groupSizeOf(config) } : {}),
      ...(lora ? frozenName(config, inputs.policy.base) : {}),
      ...(train.weightsHash ? { weights: train.weightsHash } : {}),
      ...(ratios ? { densityRatios: ratios.hash } : {}),
      ...(sync ? { sync: [config.ref_model_mixup_alpha, config.ref_model_sync_steps] } : {}),
    };
    const fresh: TrainState = {
      version: 1, step: 0, beta: settings.beta, stepState: [], numTokens: 0, offsets: { ledger: 0, log: 0 }, sinceLog: [], gradNorm: 0, betaBefore: settings.beta,
      best: null, badEvaluations: 0, logHistory: [], identity,
    };
    const state = from ? readState(from, identity) : fresh;
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
    if (config.load_best_model_at_end && state.best) {
      const best = listCheckpoints(dir).find((c) => c.step === state.best!.step);
      if (!best) throw new EdpoError(`the best step, ${state.best.step}, has no checkpoint any more in ${dir}`, { hint: 'the last weights are in the last checkpoint-N' });
      restoreWeights(best.path, engine.optimiserState!);
      io.say(`the result is the best step's, ${state.best.step} (${config.metric_for_best_model} ${state.best.metric.toPrecision(4)})`);
    }
    await writeResult(dir, write);
    const manifest = runManifest({ config: asked, tokenBudget: config.token_budget, inputs, gpu, state, train: train.report, evaluation: evalStore?.report, memory });
    writeAtomic(join(dir, 'run.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    writeAtomic(join(dir, 'trainer_state.json'), trainerState(state));
    writeAtomic(join(dir, 'README.md'), modelCard({ config, loss, state, base: lora && inputs.baseName.name }));
    const page = await report?.finish();
    io.out(JSON.stringify({ output_dir: dir, ...(page ? { report: page } : {}), steps: state.step, beta: state.beta, ...state.logHistory.findLast((l) => !('eval_loss' in l)), ...state.logHistory.findLast((l) => 'eval_loss' in l) }));
    if (page) io.say(`report: ${page}`);
    gpu.close();
    return 0;
  } finally {
    undo();
    unlock();
    train.close();
    evalStore?.close();
  }
}

/** Puts the finished model beside the logs: each file whole or not there. */
async function writeResult(dir: string, write: (dir: string) => Promise<void>): Promise<void> {
  const partial = join(dir, `.result.partial-${process.pid}`);
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial);
  await write(partial);
  for (const file of readdirSync(partial)) renameSync(join(partial, file), join(dir, file));
  rmSync(partial, { recursive: true });
}

/** A failed run says where the last good state is. */
function withCheckpoint(error: unknown, command: string, dir: string, lost: boolean): unknown {
  const last = listCheckpoints(dir).at(-1);
  if (!(error instanceof EdpoError)) return error;
  const where = last ? `; the last checkpoint is ${last.path}` : '; there is no checkpoint yet';
  const again = 'start anew with the same command; a smaller --save_steps makes the first checkpoint earlier';
  return new EdpoError(`${error.message}${where}`, {
    exitCode: error.exitCode, cause: error,
    hint: lost && !last ? again : lost ? `edpo ${command} --config ${existsSync(join(dir, 'config.yaml')) ? join(dir, 'config.yaml') : 'CONFIG'} --resume` : (error.hint ?? (last ? '--resume continues from the last checkpoint' : again)),
  });
}
