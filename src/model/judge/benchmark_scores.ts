import { InputError } from '../../errors.js';
import { alpacaEvalScore, preferenceShare, type AlpacaEvalScore } from './alpaca_eval.js';
import type { AnswerFile, AnswerStyle } from './answers.js';
import { arenaBattles, arenaScores, type ArenaScore, type ArenaVersion } from './arena_hard.js';
import { styleControlled, type StyleControlled } from './arena_style.js';
import type { AlpacaAnnotation, ArenaJudgment, MtBenchPair } from './judgments.js';
import { lcFromWeights, lcMinimal, lcPlain, type LengthControlled, type LengthData } from './length_control.js';
import { readDifficulties, readGamed, readWeights, weightsOf } from './length_control_files.js';
import { lcFull } from './length_control_full.js';
import { mtBenchPairwise } from './mt_bench.js';
import { characters, mean } from './statistics.js';
import type { WinRate } from './winrate.js';

/** Files of AlpacaEval that length control beyond its minimal form needs. */
export interface LengthFiles {
  /** instruction_difficulty.csv. */
  difficulties?: string;
  /** baseline_*.csv of published weights. */
  weights?: string;
  /** df_gamed.csv. */
  gamed?: string;
}

type Form = Omit<LengthControlled, 'predictions'>;
const without = ({ predictions: _, ...form }: LengthControlled): Form => form;

export interface AlpacaResult extends AlpacaEvalScore {
  avg_length: number;
  avg_length_baseline: number;
  /** Every form the given files allow. */
  length_controlled: { minimal: Form; plain?: Form; full?: Form & { strength: number | null }; from_weights?: Form };
}

/**
 * AlpacaEval's numbers (user-anchors 5.3). Difficulties are by position: the annotations must be the benchmark's instructions in its order.
 * @throws InputError where the files do not fit the annotations
 */
export async function alpacaResult(annotations: AlpacaAnnotation[], files: LengthFiles, seed: number): Promise<AlpacaResult> {
  const lengthModel = annotations.map((a) => characters(a.output_2));
  const lengthBaseline = annotations.map((a) => characters(a.output_1));
  const data: LengthData = { shares: annotations.map((a) => preferenceShare(a.preference)), lengthBaseline, lengthModel };
  const gamed = files.gamed === undefined ? undefined : await readGamed(files.gamed);
  const difficulties = files.difficulties === undefined ? gamed?.difficulties : await readDifficulties(files.difficulties);
  if (difficulties && difficulties.length !== annotations.length) {
    throw new InputError(`length control: ${files.difficulties ?? files.gamed} has ${difficulties.length} instructions, the annotations ${annotations.length}`, 'difficulties belong to the whole benchmark, in its order; leave lc_difficulties and lc_gamed out for a part of it');
  }
  const result: AlpacaResult = {
    ...alpacaEvalScore(annotations.map((a) => a.preference), { seed }), avg_length: mean(lengthModel), avg_length_baseline: mean(lengthBaseline),
    length_controlled: { minimal: without(lcMinimal(data)) },
  };
  if (difficulties) result.length_controlled.plain = without(lcPlain(data, difficulties));
  if (difficulties && gamed) {
    const { strength, ...full } = lcFull(data, difficulties, gamed.gamed);
    result.length_controlled.full = { ...without(full), strength };
  }
  if (files.weights !== undefined) {
    if (!difficulties) throw new InputError('lc_weights needs the instructions’ difficulties too', '--lc_difficulties instruction_difficulty.csv');
    const name = annotations[0]?.generator_2;
    if (name === undefined) throw new InputError('lc_weights: the annotations do not name their model (generator_2)', 'leave lc_weights out');
    result.length_controlled.from_weights = without(lcFromWeights(weightsOf(await readWeights(files.weights), name, files.weights), difficulties));
  }
  return result;
}

export interface ArenaResult {
  version: ArenaVersion;
  scores: ArenaScore[];
  /** v2 by category, where the questions have one. */
  categories?: Record<string, ArenaScore[]>;
  style_controlled?: StyleControlled;
  invalid_games: number;
  dropped_questions: number;
}

/** Arena-Hard's numbers (user-anchors 5.4); style control where both answer files carry their style. */
export function arenaResult(judgments: ArenaJudgment[], version: ArenaVersion, baseline: string, seed: number, files?: { outputs: AnswerFile; baseline: AnswerFile }): ArenaResult {
  const { battles, invalid, dropped } = arenaBattles(judgments, version, baseline);
  if (battles.length === 0) throw new InputError(`no game of ${judgments.length} questions has a verdict`, 'look at the judge’s replies in annotations.ndjson');
  const result: ArenaResult = { version, scores: arenaScores(battles, version, judgments[0]?.baseline ?? baseline, { seed }), invalid_games: invalid, dropped_questions: dropped.length };
  const categories = [...new Set(judgments.flatMap((j) => j.category ?? []))];
  if (version === 'v2' && categories.length > 1) {
    const at = new Map(judgments.map((j) => [j.question, j.category]));
    result.categories = Object.fromEntries(categories.map((c) => [c, arenaScores(battles.filter((b) => at.get(b.question) === c), version, baseline, { seed })]));
  }
  const style = (file: AnswerFile): Map<string, AnswerStyle> => new Map(file.answers.flatMap((a) => (a.style && a.id !== undefined ? [[a.id, a.style]] : [])));
  if (version === 'v2' && files) {
    const [model, other] = [style(files.outputs), style(files.baseline)];
    if (model.size === files.outputs.answers.length && other.size === files.baseline.answers.length) result.style_controlled = styleControlled(battles, model, other, { seed });
  }
  return result;
}

/** MT-Bench's pairwise win rates, of every model against every other in the file. */
export function pairResult(pairs: MtBenchPair[]): Array<{ model: string; baseline: string } & WinRate> {
  const seen = new Map(pairs.map((p) => [JSON.stringify([p.model_1, p.model_2]), p]));
  return [...seen.values()].map((p) => ({ model: p.model_1, baseline: p.model_2, ...mtBenchPairwise(pairs, p.model_1, p.model_2) }));
}
