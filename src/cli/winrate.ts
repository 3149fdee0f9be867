import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RunConfig } from '../config/keys.js';
import { mixedNames } from '../config/mixture.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { loadFrozen } from '../model/frozen.js';
import { writeAtomic } from '../model/files/atomic.js';
import { lockFolder } from '../model/files/lock.js';
import { isHubId } from '../model/hub/index.js';
import { emptyMark } from '../model/judge/answers.js';
import { KeptVerdicts } from '../model/judge/kept_verdicts.js';
import { openaiOptions, openJudge } from '../model/judge/open.js';
import { estimate } from '../model/judge/openai/judge.js';
import { Queue } from '../model/judge/queue.js';
import { sampleKl, type SampleKl } from '../model/judge/sample_kl.js';
import type { Judge, Question, Verdict } from '../model/judge/types.js';
import { winRateReport } from '../model/judge/report.js';
import { characters, mean } from '../model/judge/statistics.js';
import { openModel } from '../model/models.js';
import { openDevice, openInputs } from '../model/session.js';
import { chosenAdapters } from './adapter_processes.js';
import { benchmark, isBenchmark } from './benchmark.js';
import type { Answer, PromptText } from './generate.js';
import type { CliIo } from './io.js';
import { scoreJudgments } from './judgments.js';
import { fileAnswers, openPrompts } from './prompts.js';
import { interruptedBy, sampled, samplingOf, whileSampling, type Sampling } from './sampled.js';

/** `edpo eval-winrate`: the model's answers against a baseline's, by a judge; answers and verdicts already there are kept. */
export async function run(asked: RunConfig, io: CliIo): Promise<number> {
  // Answers are sampled on all of them; a judge and the KL run here, on the first.
  const adapters = asked.adapters ? await chosenAdapters(asked.adapters) : undefined;
  const config = adapters ? { ...asked, adapters, adapter: adapters[0]! } : asked;
  if (config.judgments !== undefined) return scoreJudgments(config, io);
  if (config.output_dir === undefined) throw new InputError('output_dir is required', '--output_dir DIR');
  if (config.estimate && !config.judge?.startsWith('openai:')) throw new InputError(`estimate is about judges that cost money (openai:MODEL), got judge: ${config.judge ?? '(none)'}`, 'leave --estimate out');
  if (config.judge_order === 'hashed' && !config.judge?.startsWith('openai:')) throw new InputError('judge_order hashed is AlpacaEval’s and needs judge: openai:MODEL', '--judge_order both');
  if (isBenchmark(config)) return benchmark(config, io);
  if (config.category_temperatures) throw new InputError('category_temperatures are MT-Bench’s; a preference data set has no categories', '--temperature NUMBER');
  // Sampling and judging may both ask for it at once.
  let opening: Promise<Gpu> | undefined;
  const device = (): Promise<Gpu> => (opening ??= openDevice(config, io));
  const endpoint = /^openai:(.+)$/s.exec(config.judge ?? '')?.[1];
  const ending = new AbortController();
  const unjudged = config.judge === 'none';
  const judge = config.estimate || unjudged ? undefined : await openJudge(config, device, io, ending.signal);
  const inputs = await openInputs(config, io);
  const { prompts, chosen } = await openPrompts(config, inputs, io);
  const n = prompts.length;
  const dir = config.output_dir;
  mkdirSync(dir, { recursive: true });
  const unlock = lockFolder(dir, (t) => io.say(`note: ${t}`));
  let stop = false;
  const undo = io.onInterrupt((signal) => {
    stop = true;
    ending.abort();
    io.say(`${signal}: ending; answers and verdicts are kept`);
  });
  try {
    const s: Sampling = { config, io, inputs, prompts, dir, device, stopped: () => stop };
    if (unjudged) return await withoutJudge(s);
    const baseline = config.baseline === 'chosen' ? chosen : await baselineAnswers(s);
    if (!judge) {
      io.out(JSON.stringify(await estimate(openaiOptions(endpoint!, config, io), await allQuestions(s, baseline))));
      return 0;
    }
    const { answers, verdicts } = await playGames(s, judge, baseline, ending.signal);
    const kl = config.ref_model_name_or_path === undefined ? undefined : await klOfSamples(s, answers);
    (await opening)?.close();
    const report = summary(s, judge, answers, baseline, verdicts, kl);
    writeAtomic(join(dir, 'winrate.json'), `${JSON.stringify(report, null, 2)}\n`);
    const outputs = (of: (p: PromptText) => string, generator: string | undefined): string =>
      `${JSON.stringify(prompts.map((p) => ({ instruction: p.prompt, output: of(p), generator, dataset: config.dataset_name ?? mixedNames(config.dataset_mixture)?.join(' + ') ?? 'prompts', ...emptyMark(of(p)) })), null, 2)}\n`;
    writeAtomic(join(dir, 'model_outputs.json'), outputs((p) => answers.get(p.index)!.output, config.model_name_or_path));
    writeAtomic(join(dir, 'reference_outputs.json'), outputs((p) => baseline.get(p.index)!, config.baseline));
    const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
    io.say(`${report.wins} wins, ${report.ties} ties, ${report.losses} losses${report.invalid ? `, ${report.invalid} invalid` : ''} of ${n}: win rate ${percent(report.win_rate)} (95 % interval ${percent(report.wilson_low)} to ${percent(report.wilson_high)})${report.length_controlled.win_rate === null ? '' : `, ${percent(report.length_controlled.win_rate)} with lengths held equal`}`);
    if (kl) io.say(`KL to the reference on its own answers: ${kl.kl.toFixed(3)} ± ${kl.kl_se.toFixed(3)} nats (Monte Carlo ${kl.kl_monte_carlo.toFixed(3)} ± ${kl.kl_monte_carlo_se.toFixed(3)})`);
    io.out(JSON.stringify(report));
    return 0;
  } finally {
    undo();
    unlock();
  }
}

/** Answers, their lengths and their KL, and no verdicts. */
async function withoutJudge(s: Sampling): Promise<number> {
  const { config, prompts, dir, io } = s;
  if (config.outputs !== undefined) throw new InputError('judge: none is about answers that the policy samples, and outputs names a file of answers', 'leave --outputs out, or name a judge');
  const answers = await sampled(s, 'answers', s.inputs.policy, () => undefined);
  interruptedBy(s);
  const kl = config.ref_model_name_or_path === undefined ? undefined : await klOfSamples(s, answers);
  const lengths = prompts.map((p) => characters(answers.get(p.index)!.output));
  const report = { n: 0, prompts: prompts.length, mean_length: mean(lengths), ...kl, judge: 'none', sampling: samplingOf(config), policy: s.inputs.policy.weightsHash() };
  writeAtomic(join(dir, 'winrate.json'), `${JSON.stringify(report, null, 2)}\n`);
  io.say(`${prompts.length} answers, nobody judged them${kl ? `; KL to the reference on them: ${kl.kl.toFixed(3)} ± ${kl.kl_se.toFixed(3)} nats` : ''}`);
  io.out(JSON.stringify(report));
  return 0;
}

async function baselineAnswers(s: Sampling): Promise<Map<number, string>> {
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
async function allQuestions(s: Sampling, baseline: Map<number, string>): Promise<Question[]> {
  const outputs = s.config.outputs !== undefined ? await fileAnswers(s.config.outputs, s.prompts, s.config.n_prompts > 0) : new Map([...(await sampled(s, 'answers', s.inputs.policy, () => undefined))].map(([i, a]) => [i, a.output]));
  interruptedBy(s);
  return s.prompts.flatMap(({ index, prompt }) => gamesOf(s, index, outputs.get(index)!, baseline.get(index)!).map((game) => ({ ...game, prompt: prompt as string })));
}

/** Samples and judges at the same time: each answer goes to the judge as it ends. */
async function playGames(s: Sampling, judge: Judge, baseline: Map<number, string>, ending: AbortSignal): Promise<{ answers: Map<number, Answer>; verdicts: Map<string, Verdict> }> {
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

/** KL of the policy to the reference on the answers it sampled; undefined where the answers came from a file. */
async function klOfSamples(s: Sampling, answers: Map<number, Answer>): Promise<SampleKl | undefined> {
  if (s.config.outputs !== undefined) {
    s.io.say('note: no KL beside the win rate: it is defined on answers the policy itself sampled, and these come from a file');
    return undefined;
  }
  const gpu = await s.device();
  const policy = await loadFrozen(gpu, s.inputs.policy, 'policy', s.config);
  const reference = await loadFrozen(gpu, s.inputs.reference, 'reference', s.config);
  const samples = s.prompts.map((p) => ({ id: p.index, prompt: p.ids, answer: answers.get(p.index)!.ids }));
  return sampleKl(gpu, policy, reference, samples, s.config.token_budget, s.config.realign);
}

function summary(s: Sampling, judge: Judge, answers: Map<number, Answer>, baseline: Map<number, string>, verdicts: Map<string, Verdict>, kl: SampleKl | undefined) {
  const share = (v: Verdict | undefined, mine: 'a' | 'b'): number | undefined => (v === undefined || v === 'invalid' ? undefined : v === 'tie' ? 0.5 : v === mine ? 1 : 0);
  const games = s.prompts.map(({ index }) => ({ first: share(verdicts.get(`${index}:ab`), 'a'), second: share(verdicts.get(`${index}:ba`), 'b'), output: answers.get(index)!.output, baseline: baseline.get(index)! }));
  return { ...winRateReport(games, { seed: s.config.seed }), ...kl, ...judge.identity, baseline: s.config.baseline, sampling: samplingOf(s.config), policy: s.inputs.policy.weightsHash() };
}
