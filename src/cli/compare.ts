import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readGrid, shardOf, type Grid, type GridRun } from '../compare/grid.js';
import { markdown, resultOf, type RunResult } from '../compare/results.js';
import { EdpoError, InputError } from '../errors.js';
import { lossNames } from '../model/losses/modifiers/compose.js';
import { lossOf } from '../model/session.js';
import { writeAtomic } from '../model/files/atomic.js';
import type { CliIo } from './io.js';

const bin = fileURLToPath(new URL('../../../bin/edpo.js', import.meta.url));

/**
 * `edpo compare`: methods x seeds over one data set and one reference cache, one after another through the public commands; a run that is
 * finished is not made again, one that was cut off goes on. Writes compare.ndjson and compare.md.
 */
export async function run(o: { config?: string; shard?: string }, io: CliIo): Promise<number> {
  if (o.config === undefined) throw new InputError('compare needs a comparison', 'edpo compare --config configs/compare/quickstart.yaml');
  const grid = readGrid(o.config);
  const mine = shardOf(grid.runs, o.shard);
  mkdirSync(grid.folder, { recursive: true });
  let child: ReturnType<typeof spawn> | undefined;
  let stopped = false;
  const undo = io.onInterrupt((signal) => {
    stopped = true;
    child?.kill(signal as NodeJS.Signals);
  });
  /** Runs one public command; its own words go to stderr as they come. */
  const edpo = async (args: string[]): Promise<void> => {
    child = spawn(process.execPath, [bin, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    const code = await new Promise<number | null>((done) => child!.on('close', done));
    if (stopped) throw new EdpoError(`interrupted; finished runs are kept in ${grid.folder}`, { exitCode: 130, hint: 'the same command goes on' });
    if (code !== 0) throw new EdpoError(`edpo ${args[0]} ended with exit code ${code ?? 'none (killed)'}`, { exitCode: code === 2 ? 2 : 1, hint: `what it said stands above; by hand: edpo ${args.join(' ')}` });
  };
  try {
    await fillCache(grid, mine, edpo, io);
    for (const [i, r] of mine.entries()) {
      io.say(`compare ${i + 1}/${mine.length}: ${r.name}, seed ${r.seed}`);
      await oneRun(grid, r, edpo);
    }
  } finally {
    undo();
  }
  const results = grid.runs.map((r) => resultOf(r, minutesOf(r))).filter((r): r is RunResult => r !== undefined);
  writeAtomic(join(grid.folder, 'compare.ndjson'), results.map((r) => `${JSON.stringify(r)}\n`).join(''));
  writeAtomic(join(grid.folder, 'compare.md'), markdown(results));
  if (results.length < grid.runs.length) io.say(`${results.length} of ${grid.runs.length} runs are finished; the others belong to other shards`);
  io.out(markdown(results).trimEnd());
  return 0;
}

const asArgs = (flags: Record<string, string>): string[] => Object.entries(flags).flatMap(([k, v]) => [`--${k}`, v]);
type Edpo = (args: string[]) => Promise<void>;

/** One cache for all: with hidden states if any method wants them, since those hold the sums too. */
async function fillCache(grid: Grid, runs: GridRun[], edpo: Edpo, io: CliIo): Promise<void> {
  const cached = runs.filter((r) => r.config.ref_mode === 'cache' && lossOf(r.config).needs.reference !== 'none');
  const r = cached.find((x) => lossOf(x.config).needs.reference === 'hidden') ?? cached[0];
  if (!r) return;
  io.say(`compare: reference cache for ${cached.length} of ${runs.length} runs`);
  await edpo(['precompute-ref', '--config', grid.base, '--loss_type', lossNames(r.config).join(','), '--ref_cache', grid.refCache]);
}

async function oneRun(grid: Grid, r: GridRun, edpo: Edpo): Promise<void> {
  const finished = existsSync(join(r.folder, 'run.json'));
  if (!finished) {
    const resumes = existsSync(r.folder) && readdirSync(r.folder).some((f) => /^checkpoint-\d+$/.test(f));
    await edpo(['train', '--config', grid.base, ...asArgs(r.flags), ...(resumes ? ['--resume'] : ['--overwrite_output_dir', 'true'])]);
  }
  const reference = r.config.ref_model_name_or_path ?? r.config.model_name_or_path!;
  const c = r.config;
  const data = (held: boolean): string[] => [
    ...(held && c.eval_data_files ? ['--data_files', c.eval_data_files.join(',')] : c.dataset_mixture ? ['--dataset_mixture', JSON.stringify(c.dataset_mixture)] : c.dataset_name ? ['--dataset_name', c.dataset_name] : []),
    ...(c.data_dir ? ['--data_dir', c.data_dir.join(',')] : []), ...(!held || c.eval_data_files || !c.data_files ? [] : ['--data_files', c.data_files.join(',')]),
    '--dataset_format', c.dataset_format, '--tokenization', c.tokenization, '--max_length', String(c.max_length), '--max_prompt_length', String(c.max_prompt_length), '--truncation_mode', c.truncation_mode, '--bad_rows', c.bad_rows,
    ...(c.chat_template ? ['--chat_template', c.chat_template] : []),
  ];
  const held = join(r.folder, 'heldout');
  if (!existsSync(join(held, 'eval.json'))) {
    await edpo(['eval', '--model_name_or_path', r.folder, '--ref_model_name_or_path', reference, ...data(true), ...(c.max_eval_samples > 0 ? [c.eval_data_files ? '--max_train_samples' : '--max_eval_samples', String(c.max_eval_samples)] : []), '--loss_type', 'epsilon_dpo', '--beta', String(c.beta), '--token_budget', String(c.token_budget), '--output_dir', held]);
  }
  if (grid.winrate && !existsSync(join(r.folder, 'winrate', 'winrate.json'))) {
    await edpo(['eval-winrate', '--model_name_or_path', r.folder, '--ref_model_name_or_path', reference, ...data(true), '--output_dir', join(r.folder, 'winrate'), '--token_budget', String(c.token_budget), ...asArgs(grid.winrate)]);
  }
}

/** Training time by the log: tokens over tokens a second, interval by interval. */
function minutesOf(r: GridRun): number | null {
  const path = join(r.folder, 'trainer_log.jsonl');
  if (!existsSync(path)) return null;
  const lines = readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>).filter((l) => 'tokens_per_second' in l);
  let [seconds, before] = [0, 0];
  for (const l of lines) {
    seconds += (l['num_tokens']! - before) / l['tokens_per_second']!;
    before = l['num_tokens']!;
  }
  return seconds / 60;
}
