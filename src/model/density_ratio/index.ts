import { join } from 'node:path';
import type { CliIo } from '../../cli/io.js';
import type { RunConfig } from '../../config/keys.js';
import { InputError } from '../../errors.js';
import type { Gpu } from '../../gpu/device.js';
import type { TokenStore } from '../data/store.js';
import { writeAtomic } from '../files/atomic.js';
import type { Parameters } from '../parameters.js';
import { sequenceCapacity } from '../session.js';
import type { DocumentSource } from '../train/types.js';
import { embeddingFile, referenceEmbeddings, type PromptEmbeddings } from './embeddings.js';
import { densityRatios, describeRatios, fitDensityRatio, hashOf, withWeights, type DensityRatios } from './weights.js';

/** A run's weights of undesirable responses. */
export interface RunRatios {
  /** Of the training data's weights: a resumed run must find the same. */
  hash: string;
  weighted(source: DocumentSource, split: 'train' | 'eval'): DocumentSource;
}

const asked = (c: RunConfig): c is RunConfig & { prompt_embeddings: string } => c.loss_type === 'bco' && c.prompt_embeddings !== undefined;

/** @throws InputError where prompts of both kinds are the same by nature */
export function requireLabels(c: RunConfig, ...stores: Array<TokenStore | undefined>): void {
  if (asked(c) && stores.some((s) => s && !s.labels)) {
    throw new InputError('prompt_embeddings weighs undesirable responses by how much rarer their prompts are among them, and in pairs both kinds have the same prompts', 'rows of prompt, completion, label; or leave prompt_embeddings out');
  }
}

/**
 * The weights that `prompt_embeddings` asks for; undefined where it does not. The classifier learns from the training data and weights both splits; a
 * resumed run makes it again, from the same rows and numbers. Writes density_ratios.ndjson into `dir`: a line for every undesirable response.
 */
export async function bcoWeights(c: RunConfig, o: { gpu: Gpu; io: CliIo; reference: () => Promise<Parameters>; train: TokenStore; evaluation: TokenStore | undefined; dir: string }): Promise<RunRatios | undefined> {
  if (!asked(c)) return undefined;
  const options = { sampleSize: c.prompt_sample_size, least: c.min_density_ratio, most: c.max_density_ratio, seed: c.seed };
  const before = new Set(o.gpu.buffers);
  let of: (store: TokenStore, file: string) => PromptEmbeddings = (store, file) => embeddingFile(file, store);
  if (c.prompt_embeddings === 'reference') {
    const parameters = await o.reference();
    of = (store) => referenceEmbeddings(o.gpu, parameters, store, { rows: c.token_budget, sequences: sequenceCapacity(c.token_budget) });
  }
  const train = of(o.train, c.prompt_embeddings);
  const { classifier, summary } = await fitDensityRatio(o.train, train, options);
  const ratios: Partial<Record<'train' | 'eval', DensityRatios>> = { train: await densityRatios(o.train, train, classifier, options) };
  if (o.evaluation) ratios.eval = await densityRatios(o.evaluation, of(o.evaluation, c.eval_prompt_embeddings ?? ''), classifier, options);
  // A reference loaded for this, and what scored with it: the run has no more use for them.
  for (const buffer of o.gpu.buffers) if (!before.has(buffer)) o.gpu.destroyBuffer(buffer);
  o.io.say(`density ratios: ${summary}; ${describeRatios(o.train, ratios.train!)}`);
  const lines = ([['train', o.train], ['eval', o.evaluation]] as const).flatMap(([split, store]) => store?.labels!.flatMap((good, i) => (good ? [] : [`${JSON.stringify({ split, id: store.ids[i]!, weight: ratios[split]!.weights[i]! })}\n`])) ?? []);
  writeAtomic(join(o.dir, 'density_ratios.ndjson'), lines.join(''));
  return { hash: hashOf(ratios.train!), weighted: (source, split) => withWeights(source, ratios[split]!) };
}
