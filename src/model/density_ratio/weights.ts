import { createHash } from 'node:crypto';
import { InputError } from '../../errors.js';
import { epochOrder } from '../data/order.js';
import type { TokenStore } from '../data/store.js';
import type { DocumentSource } from '../train/types.js';
import { fitClassifier, probability, type Classifier } from './classifier.js';
import type { PromptEmbeddings } from './embeddings.js';

export interface DensityRatioOptions {
  /** Prompts of each kind that the classifier learns from, at most. */
  sampleSize: number;
  /** Bounds of a weight. */
  least: number;
  most: number;
  seed: number;
}

/** Apart from the order of an epoch. */
const SAMPLE = 0x7564;

/** The weights of a split's documents: 1 of a desirable one. */
export interface DensityRatios {
  weights: Float64Array;
  /** Share of the undesirable ones at a bound. */
  bounded: number;
}

/** p / (1 - p) within the bounds, as TRL has it. */
export const densityRatio = (p: number, { least, most }: Pick<DensityRatioOptions, 'least' | 'most'>): number => Math.min(most, Math.max(least, p / (1 - p + 1e-8)));

const positionsOf = (store: TokenStore, desirable: boolean): number[] => store.labels!.flatMap((l, i) => (l === desirable ? [i] : []));

/**
 * BCO's matching of the underlying distributions (Jung et al. 2024, arXiv 2404.04656): a classifier that tells prompts of desirable responses
 * from those of undesirable ones gives the ratio of their densities, by which an undesirable response's loss is weighted.
 */
export async function fitDensityRatio(store: TokenStore, embeddings: PromptEmbeddings, o: DensityRatioOptions): Promise<{ classifier: Classifier; summary: string }> {
  const sampled = [true, false].map((kind) => {
    const all = positionsOf(store, kind);
    return [...epochOrder(all.length, o.seed, SAMPLE)].slice(0, o.sampleSize).map((k) => all[k]!).sort((a, b) => a - b);
  }) as [number[], number[]];
  const points = sampled.flat();
  const placeOf = new Map(points.map((p, i) => [p, i]));
  let width = 0;
  let x = new Float64Array(0);
  await embeddings.read(points, (p, embedding) => {
    if (width === 0) x = new Float64Array((width = embedding.length) * points.length);
    x.set(embedding, placeOf.get(p)! * width);
  });
  const positive = points.map((_, i) => i < sampled[0].length);
  const classifier = fitClassifier({ width, x, positive });
  const right = [true, false].map((kind) => {
    const of = positive.flatMap((p, i) => (p === kind ? [probability(classifier, x.subarray(i * width, (i + 1) * width)) > 0.5 === kind] : []));
    return `${((100 * of.filter(Boolean).length) / of.length).toFixed(1)} %`;
  });
  return { classifier, summary: `a classifier of the prompts of ${sampled[0].length} desirable and ${sampled[1].length} undesirable responses (${embeddings.from}, ${width} numbers each) is right on ${right.join(' and ')}` };
}

export async function densityRatios(store: TokenStore, embeddings: PromptEmbeddings, classifier: Classifier, o: Pick<DensityRatioOptions, 'least' | 'most'>): Promise<DensityRatios> {
  const weights = new Float64Array(store.count).fill(1);
  const bad = positionsOf(store, false);
  await embeddings.read(bad, (p, embedding) => {
    if (embedding.length !== classifier.w.length) throw new InputError(`${embeddings.from}: embeddings of ${embedding.length} numbers, and the classifier learnt from ${classifier.w.length}`, 'one model for all prompts');
    weights[p] = densityRatio(probability(classifier, embedding), o);
  });
  return { weights, bounded: bad.filter((p) => weights[p] === o.least || weights[p] === o.most).length / Math.max(1, bad.length) };
}

/** The same documents, each with its weight. */
export const withWeights = (source: DocumentSource, { weights }: DensityRatios): DocumentSource => ({ ...source, document: (i) => ({ ...source.document(i), weight: weights[i]! }) });

/** What a resumed run must find again. */
export const hashOf = ({ weights }: DensityRatios): string => createHash('sha256').update(weights).digest('hex').slice(0, 16);

/** Of the undesirable responses. */
export function describeRatios(store: TokenStore, { weights, bounded }: DensityRatios): string {
  const bad = positionsOf(store, false).map((p) => weights[p]!);
  const over = (f: (a: number, b: number) => number, from: number): number => bad.reduce((a, b) => f(a, b), from);
  const [mean, least, most] = [over((a, b) => a + b, 0) / bad.length, over(Math.min, Infinity), over(Math.max, -Infinity)];
  return `${bad.length} undesirable responses weigh ${mean.toPrecision(3)} on average, from ${least.toPrecision(3)} to ${most.toPrecision(3)}, ${(100 * bounded).toFixed(1)} % at a bound`;
}
