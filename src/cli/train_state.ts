import type { RunConfig } from '../config/keys.js';
import type { Gpu } from '../gpu/device.js';
import type { HeadTiles } from '../gpu/ops/kept_tiles.js';
import type { TokenStore } from '../model/data/store.js';
import type { RunRatios } from '../model/density_ratio/index.js';
import { frozenName } from '../model/frozen.js';
import { dropoutOf } from '../model/lora_run.js';
import type { LoraSettings } from '../model/lora.js';
import type { LossDefinition, LossSettings } from '../model/losses/types.js';
import { optimiserSettings } from '../model/optim/settings.js';
import { groupSizeOf, type Inputs } from '../model/session.js';
import type { TrainState } from '../model/train/checkpoint.js';
import type { StepPlan } from '../model/train/plan.js';

/** What a resume must find as it was; an undefined entry is not written, so that older checkpoints without it go on. */
export function identityOf(o: {
  config: RunConfig; inputs: Inputs; gpu: Gpu; loss: LossDefinition; train: TokenStore; documents: number; plan: StepPlan; settings: LossSettings; headTiles: HeadTiles;
  lora: LoraSettings | undefined; ratios: RunRatios | undefined; synced: boolean;
}): TrainState['identity'] {
  const { config, inputs, gpu, loss, train, plan, settings, lora } = o;
  return {
    loss: loss.name, data: train.hash, documents: o.documents, batch: plan.batch, maxSteps: plan.totalSteps, epochs: config.num_train_epochs, stepsPerEpoch: plan.stepsPerEpoch,
    seed: config.data_seed ?? config.seed, shuffle: config.shuffle, model: inputs.policy.weightsHash(), reference: loss.needs.reference === 'none' ? null : inputs.reference.weightsHash(),
    tokenBudget: config.token_budget, adapter: gpu.name, learningRate: config.learning_rate, schedule: config.lr_scheduler_type, settings, dtype: config.dtype === 'float32' ? undefined : config.dtype, master: config.master_dtype === 'float32' ? undefined : config.master_dtype,
    optimiser: [config.optim, optimiserSettings(config)], activations: config.activation_dtype, headTiles: o.headTiles === 'recomputed' ? undefined : o.headTiles,
    ...(lora ? { lora: { ...lora, dropout: dropoutOf(config) } } : {}),
    ...(loss.needs.tokenWeights?.from === 'learned' ? { mask: loss.needs.tokenWeights.kind } : {}),
    ...(loss.group ? { group: groupSizeOf(config) } : {}),
    ...(lora ? frozenName(config, inputs.policy.base) : {}),
    ...(train.weightsHash ? { weights: train.weightsHash } : {}),
    ...(o.ratios ? { densityRatios: o.ratios.hash } : {}),
    ...(o.synced ? { sync: [config.ref_model_mixup_alpha, config.ref_model_sync_steps] } : {}),
  };
}

/** The state before the first step. */
export const freshState = (beta: number, identity: TrainState['identity']): TrainState => ({
  version: 1, step: 0, beta, stepState: [], numTokens: 0, offsets: { ledger: 0, log: 0 }, sinceLog: [], gradNorm: 0, betaBefore: beta,
  best: null, badEvaluations: 0, logHistory: [], identity,
});
