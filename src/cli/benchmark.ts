import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasData } from '../config/contradictions_data.js';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { writeAtomic } from '../model/files/atomic.js';
import { lockFolder } from '../model/files/lock.js';
import { isHubId } from '../model/hub/index.js';
import { readAnswers, type AnswerFile } from '../model/judge/answers.js';
import { annotationsOf, arenaOf, gameId, gamesOf, gamesPlayed, generatorOf, pairsOf, PROTOCOL_OF, type Played } from '../model/judge/benchmark.js';
import { alpacaResult, arenaResult, pairResult } from '../model/judge/benchmark_scores.js';
import { leaderboardCsv } from '../model/judge/alpaca_eval.js';
import { KeptVerdicts } from '../model/judge/kept_verdicts.js';
import { matchAnswers, type Match } from '../model/judge/match.js';
import { openaiOptions, openJudge } from '../model/judge/open.js';
import { estimate } from '../model/judge/openai/judge.js';
import type { EndpointQuestion } from '../model/judge/openai/prompts.js';
import { questionFormat, readQuestions, withQuestions, type BenchmarkQuestion } from '../model/judge/questions.js';
import { Queue } from '../model/judge/queue.js';
import { winRateReport } from '../model/judge/report.js';
import { openDevice } from '../model/session.js';
import { answerFileText, ndjson, sampleBenchmark, unanswered, type Sampler, type Session } from './benchmark_answers.js';
import { grade } from './benchmark_grade.js';
import { alpacaLine, arenaLine, pairLine } from './benchmark_lines.js';
import type { CliIo } from './io.js';
import { lengthFiles } from './judgments.js';
import { interruption, whileSampling } from './sampled.js';

/** Are the questions a benchmark's, rather than a preference data set's? */
export const isBenchmark = (c: RunConfig): boolean => !hasData(c);
const isFile = (path: string): boolean => !isHubId(path) && existsSync(path) && statSync(path).isFile();

/**
 * `edpo eval-winrate` on AlpacaEval, Arena-Hard or MT-Bench: answers from files (or sampled by the model), compared with the baseline's or, for
 * MT-Bench, graded. Writes winrate.json and the benchmark's own files; verdicts already there are kept.
 */
export async function benchmark(config: RunConfig, io: CliIo): Promise<number> {
  const dir = config.output_dir!;
  let opening: Promise<Gpu> | undefined;
  const s: Session = { config, io, dir, device: () => (opening ??= openDevice(config, io)), ending: new AbortController() };
  const questions = config.questions === undefined ? undefined : await readQuestions(config.questions);
  const read = async (path: string): Promise<AnswerFile> => {
    if (!existsSync(path)) throw new InputError(`answers ${path}: no such file`);
    const file = await readAnswers(path);
    return questions && file.format !== 'alpaca-eval' ? withQuestions(file, questions) : file;
  };
  const theirs = config.baseline !== 'chosen' && isFile(config.baseline) ? await read(config.baseline) : undefined;
  if (config.baseline !== 'chosen' && !theirs && !existsSync(config.baseline) && !isHubId(config.baseline)) throw new InputError(`baseline ${config.baseline}: no such file or folder`);
  const own = config.outputs === undefined ? undefined : await read(config.outputs);
  const format = own?.format ?? theirs?.format ?? (await questionFormat(config.questions!));
  const c = { ...config, judge_protocol: config.judge_protocol ?? PROTOCOL_OF[format] };
  const single = c.judge_protocol === 'mt-bench-single';
  if (c.baseline === 'chosen' && !single) throw new InputError('baseline: without a data set there are no chosen answers to compare with', '--baseline FILE (answers to the same questions), or the folder of a model');
  mkdirSync(dir, { recursive: true });
  const unlock = lockFolder(dir, (t) => io.say(`note: ${t}`));
  const undo = io.onInterrupt((signal) => {
    s.ending.abort();
    io.say(`${signal}: ending; answers and verdicts are kept`);
  });
  try {
    const asked = questions ?? theirs ?? own!;
    const stopped = (): boolean => s.ending.signal.aborted;
    const outputs = own ?? unanswered(c, c.model_name_or_path!, format, asked);
    const baseline = c.baseline === 'chosen' ? undefined : theirs ? (own ? theirs : onlyAnswered(theirs, outputs)) : unanswered({ ...c, category_temperatures: false }, c.baseline, format, asked);
    // What a judge compares with must be there before the first comparison; the model's own answers go to the judge one by one.
    if (baseline && !theirs) await sampleBenchmark({ ...s, config: c, stopped }, 'baseline', baseline);
    const sampler: Sampler | undefined = own ? undefined : async (each, unwanted) => {
      await sampleBenchmark({ ...s, config: c, stopped: () => stopped() || unwanted() }, 'answers', outputs, each);
      writeAtomic(join(dir, outputs.format === 'alpaca-eval' ? 'model_outputs.json' : 'model_answer.jsonl'), answerFileText(outputs));
    };
    const result = single ? await grade({ ...s, config: c }, outputs, baseline, questions, sampler) : await compare({ ...s, config: c }, outputs, baseline!, questions, sampler);
    await (await opening)?.close();
    if (result) {
      const whole = { ...result, outputs: c.outputs ?? c.model_name_or_path, baseline: c.baseline };
      writeAtomic(join(dir, 'winrate.json'), `${JSON.stringify(whole, null, 2)}\n`);
      io.out(JSON.stringify(whole));
    }
    return 0;
  } finally {
    undo();
    unlock();
  }
}

/** With n_prompts a model answers the first questions of a baseline file alone. */
function onlyAnswered(baseline: AnswerFile, outputs: AnswerFile): AnswerFile {
  const key = (a: AnswerFile['answers'][number]): string => a.id ?? a.prompts.join('\n');
  const asked = new Set(outputs.answers.map(key));
  return { ...baseline, answers: baseline.answers.filter((a) => asked.has(key(a))) };
}

/** Two games of every question by the judge, asked as the answers are there; undefined where only the estimate was asked for. */
async function compare(s: Session, outputs: AnswerFile, baseline: AnswerFile, questions: Map<string, BenchmarkQuestion> | undefined, sampler: Sampler | undefined): Promise<object | undefined> {
  const { config, io, dir } = s;
  const endpoint = /^openai:(.+)$/s.exec(config.judge!)?.[1];
  const matches = matchAnswers(outputs, baseline, { allowEmpty: sampler !== undefined });
  const blind = matches.find((m) => m.prompt === undefined);
  if (blind) throw new InputError(`neither ${outputs.path} nor ${baseline.path} says what was asked (question ${blind.key})`, '--questions question.jsonl of the benchmark');
  const turns = endpoint !== undefined || config.judge!.startsWith('pairrm:');
  if (!turns && matches.some((m) => m.turn > 1)) throw new InputError(`judge ${config.judge}: answers of several turns need the turns before them, which only judge: openai:MODEL and pairrm:FOLDER are shown`, '--judge openai:MODEL');
  const turnsOf = new Map<AnswerFile['answers'][number], Match[]>();
  for (const m of matches) turnsOf.set(m.model, [...(turnsOf.get(m.model) ?? []), m]);
  /** The games of one turn; what came before it is shown with it. */
  const games = (m: Match): EndpointQuestion[] => gamesOf(turnsOf.get(m.model)!, config.judge_order, questions).filter((g) => g.id.slice(0, -3) === gameId(m));
  /** The match an answer belongs to, with the answer in it. */
  const answered = (question: number, turn: number, output: string): Match => Object.assign(turnsOf.get(outputs.answers[question]!)![turn]!, { output });
  if (config.estimate) {
    if (sampler) await sampler(answered, () => false);
    io.out(JSON.stringify(await estimate(openaiOptions(endpoint!, config, io), matches.flatMap(games))));
    return undefined;
  }
  const judge = await openJudge(config, s.device, io, s.ending.signal);
  const kept = new KeptVerdicts(join(dir, 'annotations.ndjson'), judge.identity, (t) => io.say(`note: ${t}`));
  const byId = new Map<string, Match>(matches.map((m) => [gameId(m), m]));
  const matchOf = (id: string): Match => byId.get(id.slice(0, -3))!;
  const asked = new Queue<EndpointQuestion>();
  s.ending.signal.addEventListener('abort', () => asked.abandon(), { once: true });
  const ready = (m: Match): void => asked.push(...games(m).filter((g) => !kept.find(g.id, m.output, m.baseline)));
  try {
    await whileSampling(asked, judge.ask(asked, (id, winner, detail) => kept.put({ ...detail, id, winner, output: matchOf(id).output, baseline: matchOf(id).baseline })), async (failed) => {
      if (sampler) await sampler((question, turn, output) => ready(answered(question, turn, output)), failed);
      else matches.forEach(ready);
    });
  } finally {
    kept.close();
  }
  if (s.ending.signal.aborted) throw interruption(dir);
  const played: Played[] = matches.map((match) => ({ match, ab: kept.get(`${gameId(match)}:ab`), ba: kept.get(`${gameId(match)}:ba`) }));
  const names = { model: generatorOf(outputs), baseline: generatorOf(baseline) };
  const report = { ...winRateReport(gamesPlayed(played), { seed: config.seed }), ...judge.identity };
  if (outputs.format === 'arena-hard-v0.1' || outputs.format === 'arena-hard-v2') {
    const judgments = arenaOf(played, names);
    const score = arenaResult(judgments, outputs.format === 'arena-hard-v2' ? 'v2' : 'v0.1', names.baseline, config.seed, { outputs, baseline });
    const id = outputs.format === 'arena-hard-v2' ? 'uid' : 'question_id';
    writeAtomic(join(dir, 'model_judgment.jsonl'), ndjson(judgments.map(({ question, games, ...rest }, i) => ({ [id]: question, ...rest, judge: config.judge, games: [played[i]!.ba, played[i]!.ab].map((v, g) => ({ judgment: v?.['judgment'] ?? null, score: games[g] ?? null })) }))));
    for (const x of score.scores) io.say(arenaLine(x));
    return { ...report, arena_hard: score };
  }
  if (outputs.format === 'mt-bench') {
    const pairs = pairsOf(played, names);
    writeAtomic(join(dir, 'model_judgment_pair.jsonl'), ndjson(pairs.map(({ question, games, ...rest }) => {
      const name = (w: string): string => (w === rest.model_1 ? 'model_1' : w === rest.model_2 ? 'model_2' : w);
      return { question_id: question, ...rest, g1_winner: name(games[0]), g2_winner: name(games[1]), judge: config.judge };
    })));
    const scores = pairResult(pairs);
    for (const p of scores) io.say(pairLine(p));
    return { ...report, mt_bench_pairs: scores };
  }
  const annotations = annotationsOf(played, { ...names, annotator: config.judge! });
  writeAtomic(join(dir, 'annotations.json'), `${JSON.stringify(annotations, null, 2)}\n`);
  const score = await alpacaResult(annotations, lengthFiles(config), config.seed);
  const { full, from_weights: weights, plain, minimal } = score.length_controlled;
  writeAtomic(join(dir, 'leaderboard.csv'), leaderboardCsv(names.model, score, score.avg_length, full ?? weights ?? plain ?? minimal));
  io.say(alpacaLine(score));
  return { ...report, alpaca_eval: score };
}
