import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../../../errors.js';
import { DEBERTA_V3_LARGE, debertaSpec, debertaTensors, embeddingNames, linear, type DebertaSpec } from '../../deberta/spec.js';
import type { ParameterSpec } from '../../families/spec.js';
import { readConfig, WeightFiles } from '../../files/weight_files.js';

/** Backbone and head in the state dict of both layouts; the head's other members are dropout and tanh. */
export const BACKBONE = 'pretrained_model.';
export const HEAD = { hidden: 'head_layer.1', score: 'head_layer.4' };

/** Lengths in tokens, [CLS] and [SEP] included: what llm-blender's config.json says, else what PairRM was trained with. */
export interface PairRmLimits {
  source: number;
  candidate: number;
}

/** What the scorer is made of: the backbone's numbers, every tensor, and a tensor's rows [first, first + rows) as f32. */
export interface PairRmModel {
  spec: DebertaSpec;
  tensors: ParameterSpec[];
  read(p: ParameterSpec, first: number, rows: number): Float32Array;
}

/** A PairRM folder (Jiang et al. 2023, arXiv 2306.02561), opened and checked; no weight is read yet. */
export interface PairRmFolder extends PairRmModel {
  limits: PairRmLimits;
  weights: WeightFiles;
}

export const pairRmTensors = (spec: DebertaSpec): ParameterSpec[] => [...debertaTensors(spec, BACKBONE), ...linear(HEAD.hidden, spec.D, 2 * spec.D), ...linear(HEAD.score, 1, spec.D)];

const numberKeys = ['source_maxlength', 'candidate_maxlength'] as const;

/** llm-blender's earlier name for the ranker's configuration; a config.json beside it is the backbone's. */
const RANKER = 'ranker_config.json';

/** config.json, or the ranker_config.json of earlier checkpoints over what the backbone's config.json says. */
function pairRmConfig(path: string): { config: Record<string, unknown>; where: string } {
  const earlier = join(path, RANKER);
  if (!existsSync(earlier)) return { config: readConfig(path), where: join(path, 'config.json') };
  const backbone = existsSync(join(path, 'config.json')) ? readConfig(path) : {};
  // PairRM-hf's own file says more than the other.
  if ((backbone['architectures'] as string[] | undefined)?.[0] === 'DebertaV2PairRM') return { config: backbone, where: join(path, 'config.json') };
  try {
    return { config: { ...backbone, ...(JSON.parse(readFileSync(earlier, 'utf8')) as Record<string, unknown>) }, where: earlier };
  } catch (cause) {
    throw new InputError(`${earlier} is no JSON: ${(cause as Error).message}`, 'copy or download the file again');
  }
}

/**
 * Opens llm-blender/PairRM-hf (a DebertaV2PairRM config) or llm-blender/PairRM (a ranker config, in config.json or ranker_config.json, that names the
 * backbone; its numbers are deberta-v3-large's where no file has them). Throws InputError(s): another architecture, options edpo lacks, tensors missing,
 * too many or of another shape.
 */
export function openPairRmFolder(path: string): PairRmFolder {
  const { config, where } = pairRmConfig(path);
  const ranker = 'ranker_type' in config;
  const kind = ranker ? `${String(config['ranker_type'])} on ${String(config['model_type'])}` : String((config['architectures'] as string[] | undefined)?.[0] ?? config['model_type'] ?? '(nothing)');
  if (!(ranker ? config['ranker_type'] === 'pairranker' && /^deberta/.test(String(config['model_type'])) : kind === 'DebertaV2PairRM')) {
    throw new InputError(`${path} is a ${kind}; a PairRM (DebertaV2PairRM, or a pairranker on deberta) was expected`, 'llm-blender/PairRM-hf or llm-blender/PairRM; reward:FOLDER takes other reward models');
  }
  const tasks = config['n_tasks'] ?? 1;
  if (tasks !== 1) throw new InputError(`${where}: n_tasks is ${JSON.stringify(tasks)}; one score for each answer was expected`, 'PairRM has n_tasks: 1');
  const lengths = numberKeys.map((key, i) => {
    const v = config[key] ?? [1224, 412][i];
    if (!Number.isInteger(v) || (v as number) < 4) throw new InputError(`${where}: ${key} is ${JSON.stringify(v)}; a whole number of tokens from 4 was expected`);
    return v as number;
  }) as [number, number];
  needTokenizer(path);
  // An index buffer, which older versions of transformers save.
  const weights = new WeightFiles(path, /position_ids$/);
  // The vocabulary was grown by the prefixes' tokens, which the backbone's numbers do not know.
  const rows = weights.shapeOf(embeddingNames(BACKBONE).words)?.[0];
  const spec = debertaSpec(ranker ? { ...DEBERTA_V3_LARGE, ...(rows ? { vocab_size: rows } : {}), ...present(config) } : config, where);
  const tensors = pairRmTensors(spec);
  weights.check(tensors, true);
  return { spec, tensors, weights, read: (p, first, n) => weights.readF32(p, first, n), limits: { source: lengths[0], candidate: lengths[1] } };
}

/** The backbone's numbers a ranker config has of its own. */
const present = (config: Record<string, unknown>): Record<string, unknown> => Object.fromEntries(Object.keys(DEBERTA_V3_LARGE).filter((key) => config[key] !== undefined && config[key] !== null).map((key) => [key, config[key]]));

function needTokenizer(path: string): void {
  if (existsSync(join(path, 'tokenizer.json'))) return;
  const spm = existsSync(join(path, 'spm.model'));
  throw new InputError(
    `${path} has no tokenizer.json${spm ? ', only spm.model, which edpo does not read' : ''}`,
    `convert it once: python -c "from transformers import AutoTokenizer as T; T.from_pretrained('${path}', use_fast=True).save_pretrained('${path}')", or take the tokenizer.json of llm-blender/PairRM-hf`,
  );
}
