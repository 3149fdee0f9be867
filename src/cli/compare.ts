import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { META } from '../config/keys.js';
import { asArgs, evaluatePoint, type Edpo } from '../compare/evaluate.js';
import { readGrid, shardOf, type Grid, type GridRun } from '../compare/grid.js';
import { refuseChanged } from '../compare/changed.js';
import { finished, pointsOf } from '../compare/points.js';
import { markdown, resultOf, type RunResult } from '../compare/results.js';
import { EdpoError, InputError } from '../errors.js';
import { writeAtomic } from '../model/files/atomic.js';
import { waitForFolder } from '../model/files/lock.js';
import { losses } from '../model/losses/index.js';
import { lossNames } from '../model/losses/modifiers/compose.js';
import type { LossDefinition } from '../model/losses/types.js';
import { lossOf } from '../model/session.js';
import type { CliIo } from './io.js';

const bin = fileURLToPath(new URL('../../../bin/edpo.js', import.meta.url));

export interface CompareFlags {
  config?: string | undefined;
  shard?: string | undefined;
  figures?: boolean | undefined;
  /** Keys of all runs, over the base file. */
  keys: Record<string, string>;
}

/**
 * `edpo compare`: methods x overrides x seeds over one data set and one reference cache, one after another through the public commands; a run that is
 * finished is not made again, one that was cut off goes on. Writes compare.ndjson, compare.md and compare.html.
 */
export async function run(o: CompareFlags, io: CliIo): Promise<number> {
  if (o.config === undefined) throw new InputError('compare needs a comparison', 'edpo compare --config configs/compare/quickstart.yaml');
  const grid = readGrid(o.config, o.keys);
  const mine = shardOf(grid.runs, o.shard);
  refuseChanged(grid);
  mkdirSync(grid.folder, { recursive: true });
  let child: ReturnType<typeof spawn> | undefined;
  let stopped = false;
  const undo = io.onInterrupt((signal) => {
    stopped = true;
    child?.kill(signal as NodeJS.Signals);
  });
  /** Runs one public command; its own words go to stderr as they come. */
  const edpo: Edpo = async (args) => {
    // A channel, so that a run ends when this process does, whatever ends it: its folder must not stay locked by an orphan.
    child = spawn(process.execPath, [bin, ...args], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: { ...process.env, EDPO_END_WITH_PARENT: '1' } });
    const code = await new Promise<number | null>((done) => child!.on('close', done));
    if (stopped) throw interrupted(grid);
    if (code !== 0) throw new EdpoError(`edpo ${args[0]} ended with exit code ${code ?? 'none (killed)'}`, { exitCode: code === 2 ? 2 : 1, hint: `what it said stands above; by hand: edpo ${args.join(' ')}` });
  };
  try {
    await fillCache(grid, mine, edpo, io, () => stopped);
    for (const [i, r] of mine.entries()) {
      io.say(`compare ${i + 1}/${mine.length}: ${r.name}, seed ${r.seed}`);
      await train(grid, r, edpo);
      for (const p of pointsOf(grid, r)) await evaluatePoint(grid, r, p, edpo);
    }
  } finally {
    undo();
  }
  const all = grid.runs.filter(finished).flatMap((r) => pointsOf(grid, r).map((p) => resultOf(r, p))).filter((r): r is RunResult => r !== undefined);
  const ends = all.filter((r) => r.step === undefined && r.realign === undefined);
  const table = markdown(all.filter((r) => r.step === undefined));
  writeAtomic(join(grid.folder, 'compare.ndjson'), all.map((r) => `${JSON.stringify(r)}\n`).join(''));
  writeAtomic(join(grid.folder, 'compare.md'), table);
  if (ends.length < grid.runs.length) io.say(`${ends.length} of ${grid.runs.length} runs are finished; the others belong to other shards`);
  // Vega is large: loaded where a page is drawn.
  const { writeComparison } = await import('../compare/write_page.js');
  const written = await writeComparison(grid, all, o.figures === true);
  for (const note of written.notes) io.say(`note: ${note}`);
  io.say(`comparison: ${written.path}${written.figures > 0 ? `; ${written.figures} figures in ${join(grid.folder, 'figures')}` : ''}`);
  io.out(table.trimEnd());
  return 0;
}

/**
 * One cache for all runs of the grid, those of other shards too: hidden states and mismatched pairs if any method wants them, since methods that need less
 * read it as well. Shards that start at once take turns; the later ones find it whole.
 */
async function fillCache(grid: Grid, mine: GridRun[], edpo: Edpo, io: CliIo, stopped: () => boolean): Promise<void> {
  const cached = (runs: GridRun[]): GridRun[] => runs.filter((r) => r.config.ref_mode === 'cache' && lossOf(r.config).needs.reference !== 'none');
  const waiting = cached(mine.filter((r) => !finished(r)));
  if (waiting.length === 0) return;
  const all = cached(grid.runs);
  const strongest = all.find((r) => lossOf(r.config).needs.reference === 'hidden') ?? all[0]!;
  const mismatched = all.find((r) => lossOf(r.config).group?.of === 'mismatched');
  const names = [...new Set([strongest, ...(mismatched ? [mismatched] : [])].flatMap((r) => lossNames(r.config)))];
  // What a method needs may hang on its own keys (mi_dpo's prior).
  const deciding = lossNames(strongest.config).flatMap((n) => { const l: LossDefinition = losses[n]; return l.resolve ? [...Object.keys(l.params), ...Object.keys(l.options ?? {})] : []; });
  const own = Object.fromEntries(Object.entries(strongest.flags).filter(([k]) => deciding.includes(k)));
  const unlock = await waitForFolder(grid.refCache, (n) => io.say(`note: ${n}`), { name: '.compare.lock', stop: stopped, waiting: () => io.say(`compare: another shard fills ${grid.refCache}; waiting for it`) });
  if (!unlock) throw interrupted(grid);
  try {
    io.say(`compare: reference cache for ${waiting.length} of ${mine.length} runs`);
    await edpo(['precompute-ref', '--config', grid.base, ...asArgs(ofCache({ ...grid.shared, ...own })), '--loss_type', names.join(','), '--ref_cache', grid.refCache]);
  } finally {
    unlock();
  }
}

const interrupted = (grid: Grid): EdpoError => new EdpoError(`interrupted; finished runs are kept in ${grid.folder}`, { exitCode: 130, hint: 'the same command goes on' });

const ofCache = (keys: Record<string, string>): Record<string, string> => Object.fromEntries(Object.entries(keys).filter(([k]) => META[k]!.commands.includes('precompute-ref')));

async function train(grid: Grid, r: GridRun, edpo: Edpo): Promise<void> {
  if (finished(r)) return;
  const resumes = existsSync(r.folder) && readdirSync(r.folder).some((f) => /^checkpoint-\d+$/.test(f));
  await edpo(['train', '--config', grid.base, ...asArgs(r.flags), ...(resumes ? ['--resume'] : ['--overwrite_output_dir', 'true'])]);
}
