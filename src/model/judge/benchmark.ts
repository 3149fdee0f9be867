import { preferenceShare } from './alpaca_eval.js';
import type { AnswerFile } from './answers.js';
import type { AlpacaAnnotation, ArenaJudgment, MtBenchPair } from './judgments.js';
import type { KeptVerdict } from './kept_verdicts.js';
import type { Match } from './match.js';
import type { ProtocolName } from './openai/protocols.js';
import type { EndpointQuestion } from './openai/prompts.js';
import type { BenchmarkQuestion } from './questions.js';
import type { Games } from './report.js';
import type { Verdict } from './types.js';

/** How the judge of a benchmark is asked where the user does not say. */
export const PROTOCOL_OF: Record<AnswerFile['format'], ProtocolName> = {
  'alpaca-eval': 'alpaca-eval', plain: 'alpaca-eval', 'arena-hard-v0.1': 'arena-hard', 'arena-hard-v2': 'arena-hard-v2', 'mt-bench': 'mt-bench-single',
};

/** Name of a model in its answer file; the file's name where it gives none. */
export const generatorOf = (file: AnswerFile): string => file.answers[0]?.generator ?? file.path;

/** Both games of one match by the judge's verdicts: `ab` shows the model's output first, `ba` the baseline's. */
export interface Played {
  match: Match;
  ab: KeptVerdict | undefined;
  ba: KeptVerdict | undefined;
}

/** Id of a match among the games: the question's, with the turn where there are several. */
export const gameId = (m: Match): string => (m.model.outputs.length > 1 ? `${m.key}#${m.turn}` : m.key);

/**
 * The games of all matches as questions to a judge. With `hashed` order there is one a match (the baseline's answer is `a`, as AlpacaEval has it,
 * and the protocol changes the places).
 * @param questions of the benchmark, for reference answers (MT-Bench) where the user gave the question file
 */
export function gamesOf(matches: Match[], order: 'both' | 'hashed', questions?: Map<string, BenchmarkQuestion>): EndpointQuestion[] {
  const byKey = new Map<string, Match[]>();
  for (const m of matches) byKey.set(m.key, [...(byKey.get(m.key) ?? []), m]);
  const reference = (m: Match): { reference?: string } => {
    const text = questions?.get(m.key)?.reference?.[m.turn - 1];
    return text === undefined ? {} : { reference: text };
  };
  return matches.flatMap((m) => {
    const before = byKey.get(m.key)!.filter((x) => x.turn < m.turn);
    const game = (side: 'ab' | 'ba'): EndpointQuestion => {
      const [a, b] = side === 'ab' ? (['output', 'baseline'] as const) : (['baseline', 'output'] as const);
      const earlier = before.map((x) => ({ prompt: x.prompt ?? '', a: x[a], b: x[b], ...reference(x) }));
      return { id: `${gameId(m)}:${side}`, prompt: m.prompt ?? '', a: m[a], b: m[b], ...reference(m), ...(earlier.length > 0 ? { earlier } : {}) };
    };
    return order === 'hashed' ? [game('ba')] : [game('ab'), game('ba')];
  });
}

/** The model's share of a win in one game; undefined without a verdict. */
export const shareOf = (v: { winner: Verdict } | undefined, mine: 'a' | 'b'): number | undefined =>
  v === undefined || v.winner === 'invalid' ? undefined : v.winner === 'tie' ? 0.5 : v.winner === mine ? 1 : 0;

export const gamesPlayed = (played: Played[]): Games[] =>
  played.map(({ match, ab, ba }) => ({ first: shareOf(ab, 'a'), second: shareOf(ba, 'b'), output: match.output, baseline: match.baseline }));

/** Preference of a game as AlpacaEval counts it: from 1 (the baseline's output_1) to 2 (the model's output_2); null without one. */
function preference(v: KeptVerdict | undefined, mine: 'a' | 'b'): number | null {
  const share = shareOf(v, mine);
  if (share === undefined) return null;
  // A judge that gives degrees says them of a (1) and b (2).
  const said = v!['preference'];
  if (typeof said === 'number' && preferenceShare(said) !== undefined) return mine === 'b' ? said : 3 - said;
  return 1 + share;
}

/** AlpacaEval's annotation with what both orders said beside it. */
export interface OwnAnnotation extends AlpacaAnnotation {
  annotator: string;
  /** Preferences of the games with the model's output first and second; null without a verdict. */
  preferences: [number | null, number | null];
  tie: boolean;
}

/** annotations.json in AlpacaEval's form; the preference is the mean of the games that have one. */
export function annotationsOf(played: Played[], names: { model: string; baseline: string; annotator: string }): OwnAnnotation[] {
  return played.map(({ match, ab, ba }) => {
    const both: [number | null, number | null] = [preference(ab, 'a'), preference(ba, 'b')];
    const said = both.filter((p): p is number => p !== null);
    const mean = said.length === 0 ? null : said.reduce((x, y) => x + y, 0) / said.length;
    return {
      instruction: match.prompt ?? match.key, output_1: match.baseline, generator_1: names.baseline, output_2: match.output, generator_2: names.model,
      annotator: names.annotator, preference: mean, preferences: both, tie: mean === 1.5,
    };
  });
}

/** Label of a game in Arena-Hard's words; a judge without labels says the mild ones. */
function arenaLabel(v: KeptVerdict | undefined): string | undefined {
  if (v === undefined || v.winner === 'invalid') return undefined;
  const { label } = v;
  return typeof label === 'string' ? label : v.winner === 'tie' ? 'A=B' : v.winner === 'a' ? 'A>B' : 'B>A';
}

/** Arena-Hard's judgments: A is the baseline in the first game, the model in the second. */
export const arenaOf = (played: Played[], names: { model: string; baseline: string }): ArenaJudgment[] =>
  played.map(({ match, ab, ba }) => ({ question: match.key, ...names, ...(match.category === undefined ? {} : { category: match.category }), games: [arenaLabel(ba), arenaLabel(ab)] }));

/** MT-Bench's pairwise judgments: the model is shown first in the first game. */
export function pairsOf(played: Played[], names: { model: string; baseline: string }): MtBenchPair[] {
  const winner = (v: KeptVerdict | undefined, mine: 'a' | 'b'): string => {
    const share = shareOf(v, mine);
    return share === undefined ? 'error' : share === 0.5 ? 'tie' : share === 1 ? names.model : names.baseline;
  };
  return played.map(({ match, ab, ba }) => ({ question: match.key, turn: match.turn, model_1: names.model, model_2: names.baseline, games: [winner(ab, 'a'), winner(ba, 'b')] }));
}
