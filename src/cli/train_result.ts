import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RunConfig } from '../config/keys.js';
import { EdpoError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { TokenStore } from '../model/data/store.js';
import { writeAtomic } from '../model/files/atomic.js';
import { modelCard, runManifest } from '../model/files/run_files.js';
import type { LoraSettings } from '../model/lora.js';
import type { LossDefinition } from '../model/losses/types.js';
import type { MemoryPlan } from '../model/memory.js';
import type { OptimiserState } from '../model/optim/state.js';
import type { Inputs } from '../model/session.js';
import { listCheckpoints, restoreWeights, trainerState, type TrainState } from '../model/train/checkpoint.js';
import type { LiveReport } from '../report/live.js';
import type { CliIo } from './io.js';

/** load_best_model_at_end: the best checkpoint's weights back on the GPU. */
export function restoreBest(dir: string, config: RunConfig, state: TrainState, optimiser: OptimiserState, io: CliIo): void {
  if (!config.load_best_model_at_end || !state.best) return;
  const best = listCheckpoints(dir).find((c) => c.step === state.best!.step);
  if (!best) throw new EdpoError(`the best step, ${state.best.step}, has no checkpoint any more in ${dir}`, { hint: 'the last weights are in the last checkpoint-N' });
  restoreWeights(best.path, optimiser);
  io.say(`the result is the best step's, ${state.best.step} (${config.metric_for_best_model} ${state.best.metric.toPrecision(4)})`);
}

/** The finished run's files beside its logs, and what it came to on stdout. `asked` is the configuration before token_budget and head_tiles were chosen. */
export async function writeOutputs(dir: string, o: {
  config: RunConfig; asked: RunConfig; inputs: Inputs; gpu: Gpu; state: TrainState; loss: LossDefinition; train: TokenStore; evaluation: TokenStore | undefined; memory: MemoryPlan;
  lora: LoraSettings | undefined; write: (dir: string) => Promise<void>; report: LiveReport | undefined; io: CliIo;
}): Promise<void> {
  const { config, inputs, gpu, state, io } = o;
  await writeResult(dir, o.write);
  const manifest = runManifest({ config: o.asked, tokenBudget: config.token_budget, inputs, gpu, state, train: o.train.report, evaluation: o.evaluation?.report, memory: o.memory });
  writeAtomic(join(dir, 'run.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  writeAtomic(join(dir, 'trainer_state.json'), trainerState(state));
  writeAtomic(join(dir, 'README.md'), modelCard({ config, loss: o.loss, state, base: o.lora && inputs.baseName.name }));
  const page = await o.report?.finish();
  io.out(JSON.stringify({ output_dir: dir, ...(page ? { report: page } : {}), steps: state.step, beta: state.beta, ...state.logHistory.findLast((l) => !('eval_loss' in l)), ...state.logHistory.findLast((l) => 'eval_loss' in l) }));
  if (page) io.say(`report: ${page}`);
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
export function withCheckpoint(error: unknown, command: string, dir: string, lost: boolean): unknown {
  const last = listCheckpoints(dir).at(-1);
  if (!(error instanceof EdpoError)) return error;
  const where = last ? `; the last checkpoint is ${last.path}` : '; there is no checkpoint yet';
  const again = 'start anew with the same command; a smaller --save_steps makes the first checkpoint earlier';
  return new EdpoError(`${error.message}${where}`, {
    exitCode: error.exitCode, cause: error,
    hint: lost && !last ? again : lost ? `edpo ${command} --config ${existsSync(join(dir, 'config.yaml')) ? join(dir, 'config.yaml') : 'CONFIG'} --resume` : (error.hint ?? (last ? '--resume continues from the last checkpoint' : again)),
  });
}
