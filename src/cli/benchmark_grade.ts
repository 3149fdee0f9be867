import { join } from 'node:path';
import { InputError } from '../errors.js';
import { writeAtomic } from '../model/files/atomic.js';
import type { Answer, AnswerFile } from '../model/judge/answers.js';
import { generatorOf } from '../model/judge/benchmark.js';
import type { MtBenchRating } from '../model/judge/judgments.js';
import { matchAnswers } from '../model/judge/match.js';
import { compareRatings, mtBenchScores } from '../model/judge/mt_bench.js';
import { openaiOptions } from '../model/judge/open.js';
import { estimate, rateOpenAI } from '../model/judge/openai/judge.js';
import type { GradedAnswer } from '../model/judge/openai/prompts.js';
import { mtBenchCategory, type BenchmarkQuestion } from '../model/judge/questions.js';
import { Queue } from '../model/judge/queue.js';
import { winRate } from '../model/judge/winrate.js';
import { ndjson, type Sampler, type Session } from './benchmark_answers.js';
import { mtBenchLines } from './benchmark_lines.js';
import { whileSampling } from './sampled.js';

/** MT-Bench's grading: every turn of every answer alone, from 1 to 10. */
export async function grade(s: Session, outputs: AnswerFile, baseline: AnswerFile | undefined, questions: Map<string, BenchmarkQuestion> | undefined, sampler: Sampler | undefined): Promise<object | undefined> {
  const { config, io, dir } = s;
  const endpoint = /^openai:(.+)$/s.exec(config.judge!)?.[1];
  if (endpoint === undefined) throw new InputError(`judge ${config.judge}: only judge: openai:MODEL grades answers alone`, '--judge openai:MODEL, or --judge_protocol mt-bench with a baseline');
  if (baseline) matchAnswers(outputs, baseline, { allowEmpty: true });
  const ratings = new Map<string, MtBenchRating>();
  const idOf = (file: AnswerFile, a: Answer, turn: number): string => JSON.stringify([file === outputs ? 'model' : 'baseline', a.id ?? a.prompts.join('\n'), turn + 1]);
  /** One turn of an answer as the judge is asked about it. */
  const graded = (file: AnswerFile, a: Answer, turn: number): GradedAnswer => {
    const reference = (t: number): { reference?: string } => (questions?.get(a.id!)?.reference?.[t] === undefined ? {} : { reference: questions.get(a.id!)!.reference![t]! });
    return { id: idOf(file, a, turn), prompt: a.prompts[turn]!, answer: a.outputs[turn]!, ...reference(turn), ...(turn > 0 ? { earlier: a.outputs.slice(0, turn).map((o, t) => ({ prompt: a.prompts[t]!, answer: o, ...reference(t) })) } : {}) };
  };
  const files = baseline ? [outputs, baseline] : [outputs];
  for (const file of files) {
    for (const a of file.answers) {
      if (a.prompts.length < a.outputs.length) throw new InputError(`${a.where} does not say what was asked`, '--questions question.jsonl of the benchmark');
      a.outputs.forEach((_, turn) => ratings.set(idOf(file, a, turn), { question: a.id ?? a.prompts.join('\n'), model: generatorOf(file), turn: turn + 1, score: undefined }));
    }
  }
  const turnsOf = (file: AnswerFile): GradedAnswer[] => file.answers.flatMap((a) => a.outputs.map((_, turn) => graded(file, a, turn)));
  const options = { ...openaiOptions(endpoint, config, io), signal: s.ending.signal };
  if (config.estimate) {
    if (sampler) await sampler(() => undefined, () => false);
    io.out(JSON.stringify(await estimate(options, files.flatMap(turnsOf))));
    return undefined;
  }
  const said = new Map<string, Record<string, unknown>>();
  const asked = new Queue<GradedAnswer>();
  s.ending.signal.addEventListener('abort', () => asked.abandon(), { once: true });
  for (const file of files) if (!sampler || file !== outputs) asked.push(...turnsOf(file));
  const judging = rateOpenAI(options, asked, (id, rating, detail) => {
    ratings.get(id)!.score = rating;
    said.set(id, detail);
  });
  await whileSampling(asked, judging, async (failed) => sampler?.((question, turn) => asked.push(graded(outputs, outputs.answers[question]!, turn)), failed));
  const all = [...ratings];
  writeAtomic(join(dir, 'model_judgment_single.jsonl'), ndjson(all.map(([id, { question, score, ...r }]) => ({ question_id: question, ...r, judge: config.judge, score: score ?? -1, ...said.get(id) }))));
  const categories = new Map([...outputs.answers, ...(baseline?.answers ?? [])].flatMap((a) => (a.id !== undefined && a.category !== undefined ? [[a.id, a.category]] : [])));
  const scores = mtBenchScores(all.map(([, r]) => r), (q) => categories.get(q) ?? mtBenchCategory(q));
  for (const line of scores.flatMap(mtBenchLines)) io.say(line);
  if (!baseline) return { judge: config.judge, mt_bench: scores };
  const of = (side: string): MtBenchRating[] => all.flatMap(([id, r]) => ((JSON.parse(id) as string[])[0] === side ? [r] : []));
  const theirs = new Map(of('baseline').map((r) => [`${r.question}#${r.turn}`, r.score]));
  const compared = winRate(of('model').map((r) => compareRatings(r.score, theirs.get(`${r.question}#${r.turn}`))), []);
  return { ...compared, judge: config.judge, mt_bench: scores };
}
