import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { RunConfig } from '../../config/keys.js';
import { mixedNames } from '../../config/mixture.js';
import type { Gpu } from '../../gpu/device.js';
import type { DataReport } from '../data/store.js';
import { withoutRevision } from '../hub/names.js';
import type { LossDefinition } from '../losses/types.js';
import type { MemoryPlan } from '../memory.js';
import { kernelFields } from '../reference.js';
import { templateHash, type Inputs } from '../session.js';
import { VERSION } from '../../version.js';
import type { TrainState } from '../train/checkpoint.js';

const packageVersion = (name: string): string => {
  const path = new URL(`../../../../node_modules/${name}/package.json`, import.meta.url);
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
  } catch {
    return 'unknown';
  }
};

/** In what a run computed and what it kept in fewer bits; log-probs, softmax, criterion, losses, residual stream and gradients are always f32. */
const precisionOf = ({ dtype, master_dtype, base_dtype, load_in_4bit, load_in_8bit, activation_dtype, optim }: RunConfig): Record<string, string> => ({
  arithmetic: dtype === 'mixed_f16' ? 'f16 operands of attention and of products with weights, their sums and all else float32' : 'float32',
  trained_weights: master_dtype,
  frozen_weights: load_in_4bit ? 'nf4' : load_in_8bit ? 'int8' : base_dtype === 'auto' ? 'as stored' : base_dtype,
  activations: activation_dtype,
  optimiser: optim,
});

/**
 * run.json: what a reader needs to know to make the run again. `config` is as it was asked; what became of its `auto` stands under `memory`.
 * @param o.tokenBudget rows of a micro-batch, whoever chose them
 */
export function runManifest(o: { config: RunConfig; tokenBudget: number; inputs: Inputs; gpu: Gpu; state: TrainState; train: DataReport; evaluation: DataReport | undefined; memory: MemoryPlan }): Record<string, unknown> {
  const { config, inputs, gpu, state } = o;
  return {
    versions: { edpo: VERSION, webgpu: packageVersion('webgpu'), node: process.version },
    adapter: { ...kernelFields(gpu), kind: gpu.kind, limits: gpu.limits, ...(gpu.tuned ? { tuned: gpu.tuned } : {}), ...(gpu.without.size > 0 ? { without: [...gpu.without] } : {}) },
    hashes: { policy: inputs.policy.weightsHash(), reference: inputs.reference.weightsHash(), tokenizer: inputs.tokenizer.hash, template: templateHash(inputs.template), data: state.identity['data'] },
    precision: precisionOf(config),
    data: { train: o.train, evaluation: o.evaluation ?? null },
    memory: { planned_bytes: o.memory.total, used_bytes: gpu.bytesPeak, parts: o.memory.parts, head_tiles: o.memory.headTiles, token_budget: o.tokenBudget },
    steps: state.step, tokens: state.numTokens, beta: state.beta, best: state.best,
    config,
  };
}

/** README.md of a trained model, or of an adapter on `base`. */
export function modelCard({ config, loss, state, base }: { config: RunConfig; loss: LossDefinition; state: TrainState; base: string | undefined }): string {
  const last = (key: string): number | undefined => state.logHistory.findLast((l) => key in l)?.[key];
  const rows = ['loss', 'loss_dpo', 'rewards/accuracies', 'rewards/margins', 'eval_loss', 'eval_loss_dpo', 'eval_rewards/accuracies', 'eval_rewards/accuracies_se', 'kl/p_epsilon_steps', 'kl/n_epsilon_steps']
    .flatMap((k) => (last(k) === undefined ? [] : [`| ${k} | ${last(k)!.toPrecision(5)} |`]));
  const data = mixedNames(config.dataset_mixture) ?? [config.dataset_name ?? config.data_files?.join(', ') ?? ''];
  return `---
base_model: ${base ?? withoutRevision(config.model_name_or_path!)}
library_name: ${base === undefined ? 'transformers' : 'peft'}
model_name: ${config.run_name ?? basename(config.output_dir ?? 'model')}
datasets:
${data.map((d) => `- ${withoutRevision(d)}`).join('\n')}
tags:
- edpo
- ${loss.name}${base === undefined ? '' : '\n- lora'}
---

# ${config.run_name ?? basename(config.output_dir ?? 'model')}

${config.model_name_or_path} ${base === undefined ? 'trained' : 'trained as a LoRA adapter'} with ${loss.title} (${loss.citation}) by edpo ${VERSION}.

Loss: \`${loss.formula}\`${loss.needs.branches === 2 ? `; β started at ${config.beta} and ended at ${state.beta.toPrecision(6)}` : ''}${loss.adaptiveBeta ? `; ε ${config.epsilon}, criterion ${config.criterion}` : ''}.
Reference: ${loss.needs.reference === 'none' ? 'none' : (config.ref_model_name_or_path ?? (base === undefined ? `${config.model_name_or_path} as it started` : `${base}, the base without adapters`))}. Data: ${data.join(', ')}. ${state.step} optimiser steps, ${state.numTokens} tokens.

| metric | last value |
| --- | --- |
${rows.join('\n')}

\`config.yaml\` is the whole configuration, \`run.json\` the manifest, \`pairs.ndjson\` one line per pair and step.
${loss.adaptiveBeta ? '\nCite ε-DPO as arXiv 2502.13177.\n' : ''}`;
}
