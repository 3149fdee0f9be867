import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Example } from '../model/data/formats.js';
import { rows } from '../model/data/rows.js';
import { writeAtomic } from '../model/files/atomic.js';
import { ModelFolder } from '../model/files/hf_folder.js';
import { lockFolder } from '../model/files/lock.js';
import { isHubId, localModel } from '../model/hub/index.js';
import { Generator } from '../model/generate/generator.js';
import { askCommand, type Question, type Verdict } from '../model/judge/command.js';
import { combine, winRate } from '../model/judge/winrate.js';
import { loadWeights, openDevice, openInputs, openSplit, type Inputs } from '../model/session.js';
import { AppendLog } from '../model/train/append_log.js';
import { generatorSizes, sampleAnswers, type PromptText } from './generate.js';
import type { CliIo } from './io.js';
import { Progress } from './progress.js';

const promptText = (e: Example): string =>
  typeof e.prompt === 'string' ? e.prompt : e.prompt.map((m) => (typeof m === 'number' ? String(m) : m.role === 'user' && e.prompt.length === 1 ? m.content : `${m.role}: ${m.content}`)).join(e.kind === 'ids' ? ' ' : '\n');
const answerText = (e: Example): string => (typeof e.chosen === 'string' ? e.chosen : e.chosen.map((m) => (typeof m === 'number' ? String(m) : m.content)).join('\n')).trim();

/** Does the data set have a test split? A file is taken whole. */
const hasFolder = ({ dataset_name: name, data_files: files }: RunConfig): boolean => name !== undefined && !files && (isHubId(name) || (existsSync(name) && statSync(name).isDirectory()));

/** `edpo eval-winrate`: the model's answers against a baseline's, by a judge; answers and verdicts already there are kept. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  const program = /^command:(.+)$/s.exec(config.judge ?? '')?.[1];
  if (program === undefined) throw new InputError(`judge: expected command:PROGRAM, got ${JSON.stringify(config.judge ?? null)}`, '--judge "command:node judge.mjs"');
  if (config.output_dir === undefined) throw new InputError('output_dir is required', '--output_dir DIR');
  const inputs = await openInputs(config, io);
  const store = await openSplit(config, inputs, hasFolder(config) ? 'eval' : 'train', 2, io, true);
  const n = config.n_prompts > 0 ? Math.min(config.n_prompts, store.count) : store.count;
  const prompts: PromptText[] = Array.from({ length: n }, (_, i) => ({ index: store.ids[i]!, prompt: promptText(store.texts[i]!), ids: [...store.get(i).prompt] }));
  const dir = config.output_dir;
  mkdirSync(dir, { recursive: true });
  const unlock = lockFolder(dir, (t) => io.say(`note: ${t}`));
  try {
    const sampling = { temperature: config.temperature, top_p: config.top_p, top_k: config.top_k, max_new_tokens: config.max_new_tokens, seed: config.seed };
    let gpu: Gpu | undefined;
    const device = async (): Promise<Gpu> => (gpu ??= await openDevice(config, io));
    const model = config.outputs !== undefined ? await readAnswers(config.outputs, prompts) : await answersOf(join(dir, 'answers.ndjson'), inputs.policy, sampling, prompts, config, inputs, device, io, 'answers');
    let baseline: Map<number, string>;
    if (config.baseline === 'chosen') baseline = new Map(prompts.map((p, i) => [p.index, answerText(store.texts[i]!)]));
    else if (isHubId(config.baseline) || (existsSync(config.baseline) && statSync(config.baseline).isDirectory())) {
      // Another seed: a model against itself must not be a comparison of equal answers.
      const other = { ...config, seed: config.seed + 1 };
      baseline = await answersOf(join(dir, 'baseline.ndjson'), ModelFolder.open(await localModel(config.baseline, { offline: config.offline }, io)), { ...sampling, seed: other.seed }, prompts, other, inputs, device, io, 'baseline');
    } else baseline = await readAnswers(config.baseline, prompts);
    gpu?.close();

    const verdicts = await judge(join(dir, 'annotations.ndjson'), program, prompts, model, baseline, io);
    const games = prompts.map((p) => [verdicts.get(`${p.index}:ab`), verdicts.get(`${p.index}:ba`)] as const);
    const score = (v: Verdict | undefined, mine: 'a' | 'b'): number | undefined => (v === undefined || v === 'invalid' ? undefined : v === 'tie' ? 0.5 : v === mine ? 1 : 0);
    const pairs = games.map(([ab, ba]) => [score(ab, 'a'), score(ba, 'b')] as const);
    const both = pairs.filter(([x, y]) => x !== undefined && y !== undefined);
    const result = winRate(pairs.map(([x, y]) => combine(x, y)), both.map(([x, y]) => x === y));
    const length = (m: Map<number, string>): number => [...m.values()].reduce((a, b) => a + Array.from(b).length, 0) / Math.max(1, m.size);
    const report = { ...result, mean_length: length(model), mean_length_baseline: length(baseline), judge: config.judge, baseline: config.baseline, sampling, policy: inputs.policy.weightsHash() };
    writeAtomic(join(dir, 'winrate.json'), `${JSON.stringify(report, null, 2)}\n`);
    writeAtomic(join(dir, 'model_outputs.json'), `${JSON.stringify(prompts.map((p) => ({ instruction: p.prompt, output: model.get(p.index), generator: config.model_name_or_path, dataset: config.dataset_name ?? 'prompts' })), null, 2)}\n`);
    const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
    io.say(`${result.wins} wins, ${result.ties} ties, ${result.losses} losses${result.invalid ? `, ${result.invalid} invalid` : ''} of ${n}: win rate ${percent(result.win_rate)} (95 % interval ${percent(result.wilson_low)} to ${percent(result.wilson_high)})`);
    io.out(JSON.stringify(report));
    return 0;
  } finally {
    unlock();
    store.close();
  }
}

/** Samples what is not in the file yet; every finished answer is a line, so a killed run goes on. */
async function answersOf(path: string, folder: ModelFolder, sampling: object, prompts: PromptText[], config: RunConfig, inputs: Inputs, device: () => Promise<Gpu>, io: CliIo, label: string): Promise<Map<number, string>> {
  const header = { weights: folder.weightsHash(), sampling };
  const { log, lines } = openLines(path, header, io);
  const answers = new Map(lines.map((l) => [l['index'] as number, l['output'] as string]));
  const left = prompts.filter((p) => !answers.has(p.index));
  if (left.length > 0) {
    const gpu = await device();
    const weights = await loadWeights(gpu, folder, false, label);
    const { slots, length, rows: passRows } = generatorSizes(left, config);
    const progress = new Progress(io, label, prompts.length, answers.size);
    await sampleAnswers({ new: () => new Generator(gpu, weights, slots, length, passRows).ready() }, left, config, inputs, (index, output, tokens, finish) => {
      answers.set(index, output);
      log.append(`${JSON.stringify({ index, output, tokens, finish })}\n`);
      progress.update(answers.size);
    });
    weights.destroy();
  }
  log.close();
  return answers;
}

async function judge(path: string, program: string, prompts: PromptText[], model: Map<number, string>, baseline: Map<number, string>, io: CliIo): Promise<Map<string, Verdict>> {
  const { log, lines } = openLines(path, { judge: program }, io);
  const verdicts = new Map<string, Verdict>();
  for (const l of lines) {
    // A verdict stands for these very answers.
    const index = Number(String(l['id']).split(':')[0]);
    if (l['output'] === model.get(index) && l['baseline'] === baseline.get(index)) verdicts.set(String(l['id']), l['winner'] as Verdict);
  }
  const questions: Question[] = prompts.flatMap((p) => {
    const [a, b] = [model.get(p.index)!, baseline.get(p.index)!];
    return [{ id: `${p.index}:ab`, prompt: p.prompt as string, a, b }, { id: `${p.index}:ba`, prompt: p.prompt as string, a: b, b: a }];
  }).filter((q) => !verdicts.has(q.id));
  if (questions.length > 0) {
    await askCommand(program, questions, (id, winner) => {
      const index = Number(id.split(':')[0]);
      verdicts.set(id, winner);
      log.append(`${JSON.stringify({ id, winner, output: model.get(index), baseline: baseline.get(index) })}\n`);
    });
  }
  log.close();
  return verdicts;
}

/** Lines of an earlier run with the same header; a torn last line is dropped, another header starts the file over. */
function openLines(path: string, header: object, io: CliIo): { log: AppendLog; lines: Array<Record<string, unknown>> } {
  const first = `${JSON.stringify(header)}\n`;
  const old = existsSync(path) ? readFileSync(path, 'utf8') : '';
  if (!old.startsWith(first)) {
    if (old !== '') io.say(`note: ${path} was made with other settings and is made anew`);
    const log = new AppendLog(path, 0);
    log.append(first);
    return { log, lines: [] };
  }
  const whole = old.slice(0, old.lastIndexOf('\n') + 1);
  const lines = whole.slice(first.length).split('\n').filter(Boolean).map((l) => JSON.parse(l) as Record<string, unknown>);
  if (lines.length > 0) io.say(`note: ${path}: ${lines.length} lines are there already`);
  return { log: new AppendLog(path, Buffer.byteLength(whole)), lines };
}

/** Answers from a file: rows with output (and prompt, instruction or index), in the prompts' order where nothing else tells. */
async function readAnswers(path: string, prompts: PromptText[]): Promise<Map<number, string>> {
  if (!existsSync(path)) throw new InputError(`answers ${path}: no such file or folder`);
  const answers = new Map<number, string>();
  let i = 0;
  for await (const { value, where } of rows(path)) {
    if (value['output'] === undefined && i === 0 && ('weights' in value || 'judge' in value)) continue;
    if (typeof value['output'] !== 'string') throw new InputError(`${where}: column output (a text) is missing`);
    const text = value['prompt'] ?? value['instruction'];
    const at = typeof value['index'] === 'number' ? value['index'] : typeof text === 'string' ? prompts.find((p) => p.prompt === text)?.index : prompts[i]?.index;
    if (at !== undefined) answers.set(at, value['output']);
    i++;
  }
  const missing = prompts.filter((p) => !answers.has(p.index));
  if (missing.length > 0) throw new InputError(`${path} has no answer for ${missing.length} of ${prompts.length} prompts (first: row ${missing[0]!.index})`);
  return answers;
}
