import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { InputError } from '../errors.js';
import { lines } from '../model/data/lines.js';
import { isObject, json } from './json.js';
import { summariseLedger, type LedgerSummary } from './ledger.js';
import { hasWinRate, winRatesBeside, type WinRateFile } from './win_rates.js';

export type LogLine = Record<string, number>;

/** What a report knows of one run (or of one `edpo eval`). */
export interface ReportRun {
  name: string;
  path: string;
  /** From run.json; undefined while the run is not finished. */
  version: string | undefined;
  config: Record<string, unknown>;
  manifest: Record<string, unknown> | undefined;
  /** Training lines and evaluation lines of trainer_log.jsonl. */
  train: LogLine[];
  evals: LogLine[];
  /** eval.json of the folder itself or of a folder in it. */
  evalFiles: WinRateFile[];
  /** winrate.json of the folder itself, of folders in it, and of those beside it that measured its weights. */
  winRates: WinRateFile[];
  ledger: LedgerSummary | undefined;
  notes: string[];
}

/** Folders that hold only a win rate, given beside runs. */
export const isWinRateFolder = (path: string): boolean => hasWinRate(path) && !isRun(path);
const isRun = (path: string): boolean => ['trainer_log.jsonl', 'pairs.ndjson'].some((f) => existsSync(join(path, f)));

/**
 * Reads a run folder: log, ledger (streamed), configuration, manifest, evaluations and win rates in it.
 * @param names taken already, so that no two runs of one report share a name
 * @throws InputError for a folder that is no run, a broken line (which), a file that is no JSON
 */
export async function readRun(path: string, o: { listed: number; names: Set<string> }): Promise<ReportRun> {
  if (!existsSync(path) || !statSync(path).isDirectory()) throw new InputError(`${path}: expected the folder of a run, got ${existsSync(path) ? 'a file' : 'nothing there'}`, 'edpo report OUTPUT_DIR, the --output_dir of edpo train');
  if (!isRun(path)) throw new InputError(`${path} is no run: neither trainer_log.jsonl nor pairs.ndjson is in it`, 'name the --output_dir of edpo train, sft or eval');
  const name = nameOf(path, o.names);
  const notes: string[] = [];
  const log = existsSync(join(path, 'trainer_log.jsonl')) ? await readLog(join(path, 'trainer_log.jsonl'), name, notes) : [];
  const train = log.filter((l) => !('eval_loss' in l));
  const evals = log.filter((l) => 'eval_loss' in l);
  const written = existsSync(join(path, 'run.json')) ? json(join(path, 'run.json')) : undefined;
  // While a run is made anew in its folder, the manifest there is the one before's.
  const reached = log.reduce((n, l) => Math.max(n, l['step']!), 0);
  const manifest = log.length === 0 || written?.['steps'] === undefined || written['steps'] === reached ? written : undefined;
  if (log.length === 0 && existsSync(join(path, 'trainer_log.jsonl'))) notes.push(`${name}: no step is logged yet.`);
  else if (!manifest && log.length > 0) notes.push(`${name}: the run is not finished: run.json, with its version and adapter, is written at its end.`);
  const ledgerPath = join(path, 'pairs.ndjson');
  const ledger = existsSync(ledgerPath) ? await summariseLedger(ledgerPath, { fromStep: lastPass(log), listed: o.listed, name }) : undefined;
  if (ledger) notes.push(...ledger.notes);
  const inside = readdirSync(path, { withFileTypes: true }).filter((d) => d.isDirectory() && !d.name.startsWith('checkpoint-')).map((d) => d.name).sort();
  const found = (file: string): WinRateFile[] =>
    ['', ...inside].filter((d) => existsSync(join(path, d, file))).map((d) => ({ name: d === '' ? name : `${name}/${d}`, path: resolve(path, d), value: json(join(path, d, file)) }));
  return {
    name, path, manifest, train, evals, ledger, notes, config: configOf(path, manifest), evalFiles: found('eval.json'), winRates: [...found('winrate.json'), ...winRatesBeside(path, manifest)],
    version: isObject(manifest?.['versions']) ? String(manifest['versions']['edpo']) : undefined,
  };
}

function nameOf(path: string, taken: Set<string>): string {
  const parts = resolve(path).split(/[\\/]/);
  let name = parts.at(-1)!;
  for (let depth = 2; taken.has(name) && depth <= parts.length; depth++) name = parts.slice(-depth).join('/');
  for (let n = 2; taken.has(name); n++) name = `${parts.at(-1)!} (${n})`;
  taken.add(name);
  return name;
}

async function readLog(path: string, name: string, notes: string[]): Promise<LogLine[]> {
  const found: LogLine[] = [];
  const whole = readFileSync(path).at(-1) === 10;
  let broken: { number: number; why: string } | undefined;
  for await (const { text, number } of lines(path)) {
    if (broken) throw new InputError(`${path} line ${broken.number} is broken: ${broken.why}`, 'mend or remove that line');
    if (text === '') continue;
    try {
      const value: unknown = JSON.parse(text);
      if (isObject(value) && typeof value['step'] === 'number') found.push(value as LogLine);
      else broken = { number, why: 'expected an object with a number step' };
    } catch (error) {
      broken = { number, why: `no JSON (${(error as Error).message})` };
    }
  }
  if (broken && whole) throw new InputError(`${path} line ${broken.number} is broken: ${broken.why}`, 'mend or remove that line');
  if (broken) notes.push(`${name}: trainer_log.jsonl ends in half a line (line ${broken.number}), as a killed run leaves it; that line is left out.`);
  return found;
}

/** First step of the last pass over the data: steps and epochs of the log give the steps of an epoch. */
function lastPass(log: LogLine[]): number {
  const last = log.findLast((l) => l['step']! > 0 && l['epoch']! > 0);
  if (!last) return 0;
  return Math.max(0, last['step']! - Math.round(last['step']! / last['epoch']!) + 1);
}

function configOf(path: string, manifest: Record<string, unknown> | undefined): Record<string, unknown> {
  if (isObject(manifest?.['config'])) return manifest['config'];
  const file = join(path, 'config.yaml');
  if (!existsSync(file)) return {};
  try {
    const value: unknown = parseYaml(readFileSync(file, 'utf8'));
    return isObject(value) ? value : {};
  } catch (cause) {
    throw new InputError(`${file} is no YAML: ${(cause as Error).message.split('\n')[0]}`, undefined, cause);
  }
}
