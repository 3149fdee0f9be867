import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isHubId } from '../model/hub/index.js';
import { KeptVerdicts } from '../model/judge/kept_verdicts.js';
import { Queue } from '../model/judge/queue.js';
import { winRateReport } from '../model/judge/report.js';
import type { SampleKl } from '../model/judge/sample_kl.js';
import type { Judge, Question, Verdict } from '../model/judge/types.js';
import { openModel } from '../model/models.js';
import type { Answer } from './generate.js';
import { fileAnswers } from './prompts.js';
import { interruptedBy, sampled, samplingOf, whileSampling, type Sampling } from './sampled.js';

/** The baseline’s answers by row number: of a file, or sampled (and kept) where it is a model. */
export async function baselineAnswers(s: Sampling): Promise<Map<number, string>> {
  const { config } = s;
  if (!isHubId(config.baseline) && !(existsSync(config.baseline) && statSync(config.baseline).isDirectory())) return fileAnswers(config.baseline, s.prompts, config.n_prompts > 0);
  const { folder } = await openModel(config.baseline, { offline: config.offline }, s.io);
  // Another seed: a model against itself must not be a comparison of equal answers.
  const answers = await sampled({ ...s, config: { ...config, seed: config.seed + 1, realign: undefined } }, 'baseline', folder, () => undefined);
  interruptedBy(s);
  return new Map([...answers].map(([i, a]) => [i, a.output]));
}

/** The games of a prompt by their ids: the model's answer first, then the baseline's; in hashed order one, which the protocol places. */
function gamesOf({ config }: Sampling, index: number, mine: string, theirs: string): Array<{ id: string; a: string; b: string }> {
  const turned = { id: `${index}:ba`, a: theirs, b: mine };
  return config.judge_order === 'hashed' ? [turned] : [{ id: `${index}:ab`, a: mine, b: theirs }, turned];
}

/** The games of every prompt, its answers sampled (and kept) where they are not there. */
export async function allQuestions(s: Sampling, baseline: Map<number, string>): Promise<Question[]> {
  const outputs = s.config.outputs !== undefined ? await fileAnswers(s.config.outputs, s.prompts, s.config.n_prompts > 0) : new Map([...(await sampled(s, 'answers', s.inputs.policy, () => undefined))].map(([i, a]) => [i, a.output]));
  interruptedBy(s);
  return s.prompts.flatMap(({ index, prompt }) => gamesOf(s, index, outputs.get(index)!, baseline.get(index)!).map((game) => ({ ...game, prompt: prompt as string })));
}

/** Samples and judges at the same time: each answer goes to the judge as it ends. */
export async function playGames(s: Sampling, judge: Judge, baseline: Map<number, string>, ending: AbortSignal): Promise<{ answers: Map<number, Answer>; verdicts: Map<string, Verdict> }> {
  const { config, prompts, io } = s;
  const kept = new KeptVerdicts(join(s.dir, 'annotations.ndjson'), judge.identity, (t) => io.say(`note: ${t}`));
  const verdicts = new Map<string, Verdict>();
  const answers = new Map<number, Answer>();
  const asked = new Map(prompts.map((p) => [p.index, { prompt: p.prompt as string, ...(p.turns ? { turns: p.turns } : {}) }]));
  const questions = new Queue<Question>();
  // An interrupted run ends with what the judge has in hand.
  ending.addEventListener('abort', () => questions.abandon(), { once: true });
  const answered = (answer: Answer): void => {
    const { index, output: mine } = answer;
    answers.set(index, answer);
    const theirs = baseline.get(index)!;
    for (const { id, a, b } of gamesOf(s, index, mine, theirs)) {
      const old = kept.find(id, mine, theirs);
      if (old) verdicts.set(id, old.winner);
      else questions.push({ id, ...asked.get(index)!, a, b });
    }
  };
  const judging = judge.ask(questions, (id, winner, detail) => {
    const index = Number(id.split(':')[0]);
    verdicts.set(id, winner);
    kept.put({ id, winner, output: answers.get(index)!.output, baseline: baseline.get(index)!, ...detail });
  });
  try {
    await whileSampling(questions, judging, async (failed) => {
      if (config.outputs !== undefined) for (const [index, output] of await fileAnswers(config.outputs, prompts, config.n_prompts > 0)) answered({ index, output, tokens: 0, finish: '', ids: [] });
      else await sampled({ ...s, stopped: () => s.stopped() || failed() }, 'answers', s.inputs.policy, answered);
    });
  } finally {
    kept.close();
  }
  interruptedBy(s);
  return { answers, verdicts };
}

/** What the games come to, with what they depend on. */
export function summary(s: Sampling, judge: Judge, answers: Map<number, Answer>, baseline: Map<number, string>, verdicts: Map<string, Verdict>, kl: SampleKl | undefined) {
  const share = (v: Verdict | undefined, mine: 'a' | 'b'): number | undefined => (v === undefined || v === 'invalid' ? undefined : v === 'tie' ? 0.5 : v === mine ? 1 : 0);
  const games = s.prompts.map(({ index }) => ({ first: share(verdicts.get(`${index}:ab`), 'a'), second: share(verdicts.get(`${index}:ba`), 'b'), output: answers.get(index)!.output, baseline: baseline.get(index)! }));
  return { ...winRateReport(games, { seed: s.config.seed }), ...kl, ...judge.identity, baseline: s.config.baseline, sampling: samplingOf(s.config), policy: s.inputs.policy.weightsHash() };
}
