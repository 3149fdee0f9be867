import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EdpoError, InputError } from '../../errors.js';
import { debugRead, debugReadU32 } from '../../gpu/readback.js';
import type { HeadTiles } from '../../gpu/ops/kept_tiles.js';
import type { Tensor } from '../../gpu/tensor.js';
import type { OptimiserState } from '../optim/state.js';
import type { Parameters } from '../parameters.js';
import { writeAtomic, writeFolderAtomic } from '../files/atomic.js';
import { SafetensorsFile, writeSafetensors, type TensorSource } from '../files/safetensors.js';
import type { OperandState } from '../operands.js';
import type { PairRecord } from './ledger.js';

/** Everything a resume needs beside weights and the optimiser's state. */
export interface TrainState {
  version: 1;
  /** Optimiser steps done. */
  step: number;
  beta: number;
  /** The GPU's step_state: the optimiser's t and its bias corrections among it. */
  stepState: number[];
  /** Scales and loss scale of mixed precision. */
  operands?: OperandState;
  /** What the method carries from step to step (running means); absent where it has nothing. */
  methodState?: number[];
  numTokens: number;
  /** Bytes of ledger and log that belong to the steps done. */
  offsets: { ledger: number; log: number };
  /** Pairs since the last log line, and β before the last step. */
  sinceLog: PairRecord[];
  gradNorm: number;
  betaBefore: number;
  best: { metric: number; step: number } | null;
  badEvaluations: number;
  logHistory: Array<Record<string, number>>;
  /** What must not change under a resume. */
  identity: Record<string, unknown>;
}

const NAME = /^checkpoint-(\d+)$/;

/** Complete checkpoints of a run, by rising step; a half-written one never carries the name. */
export function listCheckpoints(outputDir: string): Array<{ step: number; path: string }> {
  if (!existsSync(outputDir)) return [];
  return readdirSync(outputDir)
    .flatMap((name) => {
      const match = NAME.exec(name);
      const path = join(outputDir, name);
      return match && existsSync(join(path, 'edpo_state.json')) ? [{ step: Number(match[1]), path }] : [];
    })
    .sort((a, b) => a.step - b.step);
}

export const hasRun = (outputDir: string): boolean => listCheckpoints(outputDir).length > 0 || existsSync(join(outputDir, 'trainer_log.jsonl'));

/** Leftovers of writes that a kill cut off. */
export function removePartials(outputDir: string): void {
  if (!existsSync(outputDir)) return;
  for (const name of readdirSync(outputDir)) if (/\.partial-\d+$/.test(name)) rmSync(join(outputDir, name), { recursive: true, force: true });
}

/** A GPU tensor as it lies there, read once and handed out by rows. */
function asItLies(name: string, tensor: Tensor): TensorSource {
  // Packed tensors are shaped by what they hold.
  const shape = tensor.type === 'f32' ? (tensor.shape as number[]) : [tensor.elements];
  const width = shape.slice(1).reduce((a, b) => a * b, 1);
  let held: Promise<Float32Array | Uint32Array> | undefined;
  return {
    name, shape, dtype: tensor.type === 'f32' ? 'F32' : 'U32',
    read: async (first, rows) => {
      held ??= tensor.type === 'f32' ? debugRead(tensor) : debugReadU32(tensor);
      const values = (await held).subarray(first * width, (first + rows) * width);
      if (first + rows >= shape[0]!) held = undefined;
      return values;
    },
  };
}

/** Names and tensors of a moving reference. */
const referenceTensors = (reference: Parameters | undefined): Array<{ name: string; tensor: Tensor }> =>
  (reference?.list ?? []).flatMap((p) => p.pieces.map(({ value }, i) => ({ name: `ref.${p.name}${p.pieces.length > 1 ? `#${i}` : ''}`, tensor: value })));

/**
 * Writes checkpoint-<step>: the model (or its adapter) by `write` in HF layout, what is trained and what the optimiser keeps of it as they lie on the GPU (a moving
 * reference's weights too), the state. Atomic.
 */
export async function writeCheckpoint(outputDir: string, state: TrainState, o: { write: (dir: string) => Promise<void>; optimiser: OptimiserState; reference?: Parameters | undefined }): Promise<string> {
  const path = join(outputDir, `checkpoint-${state.step}`);
  await writeFolderAtomic(path, async (partial) => {
    await o.write(partial);
    const tensors = [...o.optimiser.kept(), ...referenceTensors(o.reference)];
    await writeSafetensors(join(partial, 'edpo_state.safetensors'), tensors.map(({ name, tensor }) => asItLies(name, tensor)));
    writeAtomic(join(partial, 'edpo_state.json'), `${JSON.stringify(state)}\n`);
    writeAtomic(join(partial, 'trainer_state.json'), trainerState(state));
  });
  return path;
}

/** trainer_state.json in transformers' shape. */
export function trainerState(s: TrainState): string {
  const { maxSteps, epochs, stepsPerEpoch } = s.identity as { maxSteps: number; epochs: number; stepsPerEpoch: number };
  const value = {
    best_metric: s.best?.metric ?? null, best_model_checkpoint: s.best ? `checkpoint-${s.best.step}` : null, epoch: s.step / stepsPerEpoch, global_step: s.step,
    is_hyper_param_search: false, is_local_process_zero: true, is_world_process_zero: true, log_history: s.logHistory, max_steps: maxSteps, num_input_tokens_seen: s.numTokens,
    num_train_epochs: epochs, total_flos: 0, trial_name: null, trial_params: null, edpo_beta: s.beta,
  };
  return `${JSON.stringify(Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))), null, 2)}\n`;
}

/** The checkpoint a resume starts from: the last one, or the folder named. */
export function findCheckpoint(outputDir: string, choice: string | boolean): string {
  if (choice === true || choice === 'last') {
    const last = listCheckpoints(outputDir).at(-1);
    if (!last) throw new InputError(`${outputDir} has no checkpoint to resume from`, 'leave --resume out to start');
    return last.path;
  }
  const path = String(choice);
  if (!existsSync(join(path, 'edpo_state.json'))) throw new InputError(`${path} is no edpo checkpoint (no edpo_state.json)`, '--resume takes the last one of output_dir');
  return path;
}

/** The token budget a checkpoint's run chose. */
export const checkpointBudget = (path: string): number => readState(path, {}).identity['tokenBudget'] as number;
/** What it did with the head's logits: a resume does the same, whatever room there is now. */
export const checkpointHeadTiles = (path: string): HeadTiles => (readState(path, {}).identity['headTiles'] as HeadTiles | undefined) ?? 'recomputed';

/** Reads the state and refuses one of another run, naming what differs. */
export function readState(path: string, identity: Record<string, unknown>): TrainState {
  let state: TrainState;
  try {
    state = JSON.parse(readFileSync(join(path, 'edpo_state.json'), 'utf8')) as TrainState;
  } catch (cause) {
    throw new EdpoError(`${path}/edpo_state.json cannot be read: ${(cause as Error).message}`, { exitCode: 2 });
  }
  const differ = Object.keys(identity).filter((k) => JSON.stringify(state.identity[k]) !== JSON.stringify(identity[k]));
  if (differ.length > 0) {
    throw new InputError(`${path} belongs to another run: ${differ.map((k) => `${k} was ${JSON.stringify(state.identity[k])}, is ${JSON.stringify(identity[k])}`).join('; ')}`, 'resume with the configuration the run was started with, or use another --output_dir');
  }
  return state;
}

/** Puts what a checkpoint holds back on the GPU: trained values, the optimiser's state, and the moving reference where there is one. */
export function restoreWeights(path: string, optimiser: OptimiserState, reference?: Parameters): void {
  const file = SafetensorsFile.open(join(path, 'edpo_state.safetensors'), undefined, true);
  for (const { name, tensor } of [...optimiser.kept(), ...referenceTensors(reference)]) tensor.write(tensor.type === 'f32' ? file.readF32(name) : file.readU32(name));
  file.close();
}

/** Removes the oldest checkpoints over the limit; the best one stays. */
export function rotate(outputDir: string, limit: number, bestStep: number | undefined): void {
  if (limit <= 0) return;
  const all = listCheckpoints(outputDir).filter((c) => c.step !== bestStep);
  const keep = bestStep !== undefined && listCheckpoints(outputDir).some((c) => c.step === bestStep) ? limit - 1 : limit;
  for (const c of all.slice(0, Math.max(0, all.length - Math.max(1, keep)))) rmSync(c.path, { recursive: true, force: true });
}
