import { z } from 'zod';

const text = z.string().min(1);
const texts = z.union([text, z.array(text)]);

/** One data set of a mixture; null says nothing. */
const dataset = z.strictObject({
  id: text, config: text.nullish(), split: text.nullish(), columns: z.array(text).min(1).nullish(), weight: z.number().gt(0).max(1).nullish(), data_dir: texts.nullish(), data_files: texts.nullish(),
});

/**
 * `dataset_mixture` as alignment-handbook has it, and two keys of ours: `test_datasets`, evaluation data of their own, and `take`, which rows `weight`
 * takes (random draws them by seed; first is what handbook's older dataset_mixer does).
 */
export const mixtureSchema = z.strictObject({
  datasets: z.array(dataset).min(1), seed: z.int().min(0).nullish(), test_split_size: z.union([z.int().positive(), z.number().gt(0).lt(1)]).nullish(),
  test_datasets: z.array(dataset).min(1).nullish(), take: z.enum(['random', 'first']).nullish(),
});

export type DatasetMixture = z.output<typeof mixtureSchema>;
export type MixedDataset = DatasetMixture['datasets'][number];

/** Names of a mixture's data sets, each once. */
export const mixedNames = (m: DatasetMixture | undefined): string[] | undefined => m && [...new Set(m.datasets.map((d) => d.id))];

/** Does a configuration's mixture hold evaluation data, held out or of their own? */
export const mixesEvaluation = (c: { dataset_mixture?: DatasetMixture | undefined }): boolean => (c.dataset_mixture?.test_split_size ?? c.dataset_mixture?.test_datasets ?? undefined) !== undefined;
