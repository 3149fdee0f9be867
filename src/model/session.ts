import { createHash } from 'node:crypto';
import type { RunConfig } from '../config/keys.js';
import { totalBatch } from '../config/total_batch.js';
import { InputError } from '../errors.js';
import { openGpu, type Gpu } from '../gpu/device.js';
import { matrixTile } from '../gpu/matrices.js';
import { watchCompilation } from '../cli/compiling.js';
import type { CliIo } from '../cli/io.js';
import type { Sides } from './data/formats.js';
import { threadsFor } from './data/row_threads.js';
import { openSource } from './data/source.js';
import { describeReport, TokenStore } from './data/store.js';
import type { BaseName } from './files/adapter_folder.js';
import type { ModelFolder } from './files/hf_folder.js';
import { composeLoss } from './losses/modifiers/compose.js';
import type { LossDefinition, LossSettings } from './losses/types.js';
import { openModel } from './models.js';
import { Parameters } from './parameters.js';
import { requirePositions } from './position_limit.js';
import { openText, type TextFiles } from './text/open.js';
import type { ChatTemplate } from './text/template.js';
import type { Tokenizer } from './text/tokenizer.js';
import { trainedStorage } from './storage.js';
import type { DocumentSource } from './train/types.js';

/** Model folders, tokenizer and template of a run, opened and checked; no GPU yet. */
export interface Inputs {
  policy: ModelFolder;
  /** What the policy's base is called. */
  baseName: BaseName;
  /** The reference's folder: the policy's own where none is named, without its adapter where that is trained (or switched off). */
  reference: ModelFolder;
  tokenizer: Tokenizer;
  template: ChatTemplate | undefined;
  /** Where the two come from. */
  text: TextFiles;
}

export async function openInputs(config: RunConfig, io: CliIo): Promise<Inputs> {
  const { folder: policy, base: baseName } = await openModel(config.model_name_or_path!, config, io);
  const own = config.use_peft || config.ref_mode === 'adapter_off' ? policy.base : policy;
  const reference = config.ref_model_name_or_path === undefined ? own : (await openModel(config.ref_model_name_or_path, { offline: config.offline }, io)).folder;
  if (reference.spec.V !== policy.spec.V) {
    throw new InputError(`policy and reference have different vocabularies: ${policy.spec.V} and ${reference.spec.V} ids`, 'the reference must share the policy’s tokenizer');
  }
  const text: TextFiles = { tokenizer: policy.tokenizerPath, model: policy.path, template: config.chat_template, mergeSystem: config.system_messages === 'merge' };
  return { policy, baseName, reference, ...(await openText(text)), text };
}

/** Reads, checks and tokenises one split; says what became of the rows. */
export async function openSplit(config: RunConfig, inputs: Inputs, split: 'train' | 'eval', sides: Sides, io: CliIo, keepText = false, lists = sides === 2 && lossOf(config).list !== undefined): Promise<TokenStore> {
  const source = await openSource(config, split, io);
  const maxSamples = split === 'train' ? config.max_train_samples : config.max_eval_samples;
  const count = threadsFor(config.dataset_num_proc, source.files, maxSamples);
  io.log.info({ split, threads: count }, 'tokenising');
  const store = await TokenStore.build({
    ...source, format: config.dataset_format, tokenizer: inputs.tokenizer, template: inputs.template, tokenization: config.tokenization, sides,
    maxLength: config.max_length, maxPromptLength: config.max_prompt_length, truncation: config.truncation_mode, badRows: config.bad_rows,
    vocabSize: inputs.policy.spec.V, maxSamples, keepText,
    lists,
    weighted: sides === 2 && lossOf(config).needs.tokenWeights?.from === 'data',
    ...(count > 1 ? { threads: { count, text: inputs.text } } : {}),
  });
  for (let i = 0; i < store.count; i++) requirePositions(inputs.policy.spec, store.promptLengths[i]! + Math.max(...store.responseLengths[i]!), `${split}: row ${store.ids[i]!} has`, `--max_length ${inputs.policy.spec.maxPositions}`);
  for (const line of describeReport(store.report)) io.say(`${split}: ${line}`);
  return store;
}

/** What a method wants of a row. */
export const sidesOf = (loss: LossDefinition): Sides => (loss.needs.unpaired ? 'labelled' : loss.needs.branches);

/** Tokens of a prompt with another row's response: as many as a row may have. */
export const mismatchRoom = (config: RunConfig, folder: ModelFolder): number =>
  Math.min(config.max_length || Infinity, folder.spec.positionLimit === undefined ? Infinity : folder.spec.maxPositions);

/** Documents per group of a method with group statistics: `group_size`, or the optimiser step's. */
export const groupSizeOf = (config: RunConfig): number => config.group_size ?? totalBatch(config);

/** Says how many responses of each kind there are. @throws InputError where a method of labelled responses has one kind alone */
export function requireBothKinds(store: TokenStore, loss: LossDefinition, config: RunConfig, io: CliIo): void {
  if (!loss.needs.unpaired) return;
  if (!store.labels) return io.say(`train: ${store.count} pairs are split into ${2 * store.count} single responses, the chosen ones desirable, the rejected ones not (${loss.name} is of single responses)`);
  const good = store.labels.filter(Boolean).length;
  const bad = store.count - good;
  if (good === 0 || bad === 0) throw new InputError(`no row has label ${good === 0}: ${loss.name} learns from both kinds, and all ${store.count} rows are ${good > 0}`, 'add such rows');
  io.say(`train: ${good} desirable and ${bad} undesirable responses`);
  const balance = (config.desirable_weight * good) / (config.undesirable_weight * bad);
  if (loss.name === 'kto' && !(balance >= 0.999 && balance <= 1.334)) {
    io.say(`note: desirable_weight × desirable is ${balance.toPrecision(3)} of undesirable_weight × undesirable; the paper keeps it from 1 to 4/3: --undesirable_weight ${((config.desirable_weight * good) / bad).toPrecision(3)}, say`);
  }
}

export { hasEvaluationKeys as hasEvalData } from '../config/contradictions_data.js';

export { documentsOf } from './train/documents.js';

/** Rows of a document, with its own response or with a mismatched one. */
export const longestRows = (source: DocumentSource, i: number): number => Math.max(source.rows(i), source.mismatchedTokens ? source.rows(i) - source.tokens(i) + source.mismatchedTokens(i) : 0);

/** The token budget must hold the longest document: checked before the GPU is touched. */
export function requireBudget(source: DocumentSource, budget: number): void {
  const rows = (i: number): number => longestRows(source, i);
  let most = 0;
  for (let i = 1; i < source.count; i++) if (rows(i) > rows(most)) most = i;
  if (source.count > 0 && rows(most) > budget) {
    throw new InputError(`row ${source.id(most)} takes ${rows(most)} token rows (prompt and responses), token_budget is ${budget}`, `--token_budget ${rows(most)}, or a smaller --max_length`);
  }
}

export async function openDevice(config: RunConfig, io: CliIo): Promise<Gpu> {
  const gpu = await openGpu({ adapter: config.adapter });
  watchCompilation(gpu.compilation, io);
  if (gpu.tuneProblem) io.warn(gpu.tuneProblem);
  io.say(`adapter: ${gpu.name} (${gpu.kind})`);
  if (gpu.kind !== 'hardware') io.warn(`this is a software adapter on the processor: right, and slow${gpu.kind === 'embedded' ? ' (the embedded SwiftShader); edpo doctor says why no other answered' : ''}`);
  return gpu;
}

/** Sets the arithmetic of a run. @throws InputError where the adapter cannot do `dtype: mixed_f16` */
export function useDtype(gpu: Gpu, config: RunConfig): Gpu {
  if (config.dtype !== 'mixed_f16') return gpu;
  const tile = matrixTile(gpu);
  if (typeof tile === 'string') throw new InputError(`dtype is mixed_f16, and this adapter (${gpu.name}) does not multiply f16 matrices: ${tile}`, '--dtype float32, or another --adapter');
  gpu.mixed = tile;
  return gpu;
}

/** Name of the table the head projects with: the embedding where tied. */
export const headName = (folder: ModelFolder): string => (folder.spec.tied ? folder.spec.names.embed : folder.spec.names.head);

/** Weights of a folder on the GPU, to be trained; rounded to nearest where master_dtype holds less than their files. What is not trained: `loadFrozen`. */
export async function loadWeights(gpu: Gpu, folder: ModelFolder, label: string, config: Pick<RunConfig, 'master_dtype'> = { master_dtype: 'float32' }): Promise<Parameters> {
  const parameters = new Parameters(gpu, folder.spec, true, label, undefined, trainedStorage(config));
  await parameters.load((p, first, rows) => folder.readF32(p, first, rows));
  gpu.check();
  return parameters;
}

export const lossOf = (config: RunConfig): LossDefinition => composeLoss(config);

/** The loss for these data: its form for lists where they are lists. */
export function lossFor(config: RunConfig, ...stores: Array<TokenStore | undefined>): LossDefinition {
  const loss = lossOf(config);
  const given = stores.filter((s) => s !== undefined);
  if (given.every((s) => !s.lists)) return loss;
  if (given.some((s) => !s.lists)) throw new InputError('training data and evaluation data are not of one kind: lists of responses here, pairs there');
  return { ...loss, formula: loss.list!.formula, needs: { ...loss.needs, list: true } };
}

export const settingsOf = (c: RunConfig, criterionColumns = false): LossSettings => ({
  beta: c.beta, epsilonCheck: c.epsilon_check ?? c.epsilon, epsilonSize: c.epsilon_size ?? c.epsilon, criterion: c.criterion, deadzone: c.criterion_deadzone,
  betaUpdate: c.beta_update, betaMin: c.beta_min, criterionColumns,
  params: Object.fromEntries(Object.keys(lossOf(c).params).map((key) => [key, (c as unknown as Record<string, number>)[key]!])),
});

export const templateHash = (template: ChatTemplate | undefined): string => (template ? createHash('sha256').update(template.text).digest('hex') : '');

export { sequenceCapacity } from './batch/pack.js';
