import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RunConfig } from '../config/keys.js';
import { mixedNames } from '../config/mixture.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { loadFrozen } from '../model/frozen.js';
import { writeAtomic } from '../model/files/atomic.js';
import { lockFolder } from '../model/files/lock.js';
import { emptyMark } from '../model/judge/answers.js';
import { openaiOptions, openJudge } from '../model/judge/open.js';
import { estimate } from '../model/judge/openai/judge.js';
import { sampleKl, type SampleKl } from '../model/judge/sample_kl.js';
import { characters, mean } from '../model/judge/statistics.js';
import { openDevice, openInputs } from '../model/session.js';
import { chosenAdapters } from './adapter_processes.js';
import { benchmark, isBenchmark } from './benchmark.js';
import type { Answer, PromptText } from './generate.js';
import type { CliIo } from './io.js';
import { scoreJudgments } from './judgments.js';
import { openPrompts } from './prompts.js';
import { interruptedBy, sampled, samplingOf, type Sampling } from './sampled.js';
import { allQuestions, baselineAnswers, playGames, summary } from './winrate_games.js';

/** `edpo eval-winrate`: the model's answers against a baseline's, by a judge; answers and verdicts already there are kept. */
export async function run(asked: RunConfig, io: CliIo): Promise<number> {
  // Answers are sampled on all of them; a judge and the KL run here, on the first.
  const adapters = asked.adapters ? await chosenAdapters(asked.adapters) : undefined;
  const config = adapters ? { ...asked, adapters, adapter: adapters[0]! } : asked;
  if (config.judgments !== undefined) return scoreJudgments(config, io);
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
  const dir = config.output_dir!;
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
