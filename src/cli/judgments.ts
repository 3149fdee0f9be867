import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import { writeAtomic } from '../model/files/atomic.js';
import { rows } from '../model/data/rows.js';
import { alpacaResult, arenaResult, pairResult, type LengthFiles } from '../model/judge/benchmark_scores.js';
import { readAnnotations, readArenaJudgments, readMtBenchPairs, readMtBenchRatings } from '../model/judge/judgments.js';
import { mtBenchScores } from '../model/judge/mt_bench.js';
import { alpacaLine, arenaLine, mtBenchLines, pairLine } from './benchmark_lines.js';
import type { CliIo } from './io.js';

export const lengthFiles = (c: RunConfig): LengthFiles => ({
  ...(c.lc_difficulties === undefined ? {} : { difficulties: c.lc_difficulties }), ...(c.lc_weights === undefined ? {} : { weights: c.lc_weights }), ...(c.lc_gamed === undefined ? {} : { gamed: c.lc_gamed }),
});

/** Baseline of Arena-Hard v0.1's published judgments, which do not name it. */
const ARENA_BASELINE = 'gpt-4-0314';

/** `edpo eval-winrate --judgments FILE`: the numbers of judgments somebody already made; nothing is sampled or judged. */
export async function scoreJudgments(config: RunConfig, io: CliIo): Promise<number> {
  const path = config.judgments!;
  const first = await firstRow(path);
  const result: Record<string, unknown> = { judgments: path };
  if ('preference' in first) {
    const score = await alpacaResult(await readAnnotations(path), lengthFiles(config), config.seed);
    result['alpaca_eval'] = score;
    io.say(alpacaLine(score));
  } else if ('games' in first) {
    const version = 'uid' in first ? 'v2' : 'v0.1';
    const score = arenaResult(await readArenaJudgments(path), version, config.baseline === 'chosen' ? ARENA_BASELINE : config.baseline, config.seed);
    result['arena_hard'] = score;
    for (const s of score.scores) io.say(arenaLine(s));
  } else if ('g1_winner' in first) {
    const pairs = pairResult(await readMtBenchPairs(path));
    result['mt_bench_pairs'] = pairs;
    for (const p of pairs) io.say(pairLine(p));
  } else if ('score' in first) {
    const scores = mtBenchScores(await readMtBenchRatings(path));
    result['mt_bench'] = scores;
    for (const line of scores.flatMap(mtBenchLines)) io.say(line);
  } else {
    throw new InputError(`${path}: no known form of judgments; its first row has ${Object.keys(first).join(', ') || 'no columns'}`, 'edpo reads AlpacaEval’s annotations (preference), Arena-Hard’s judgments (games), MT-Bench’s *_single.jsonl (score) and *_pair.jsonl (g1_winner)');
  }
  if (config.output_dir !== undefined) {
    mkdirSync(config.output_dir, { recursive: true });
    writeAtomic(join(config.output_dir, 'winrate.json'), `${JSON.stringify(result, null, 2)}\n`);
  }
  io.out(JSON.stringify(result));
  return 0;
}

async function firstRow(path: string): Promise<Record<string, unknown>> {
  for await (const { value } of rows(path)) return value;
  throw new InputError(`${path} holds no judgments`);
}
