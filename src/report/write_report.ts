import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../errors.js';
import { writeAtomic } from '../model/files/atomic.js';
import { page } from './page.js';
import { isWinRateFolder, readRun, type ReportRun } from './run_folder.js';
import { readWinRate } from './win_rates.js';

export interface ReportOptions {
  /** Folders of runs; folders that hold only a winrate.json join them. */
  folders: string[];
  /** File to write; one run: report.html in it, several: report.html here. */
  output?: string | undefined;
  /** Pairs in each list; 0: none, and no texts. */
  listed?: number;
}

/**
 * Writes the report and says where.
 * @throws InputError for a folder that is no run, a broken line of a ledger or log, a place that cannot be written
 */
export async function writeReport(o: ReportOptions): Promise<{ path: string; bytes: number; runs: string[]; notes: string[] }> {
  const folders = o.folders.filter((f) => !isWinRateFolder(f));
  const beside = o.folders.filter(isWinRateFolder);
  if (folders.length === 0) throw new InputError(beside.length > 0 ? `${beside.join(', ')}: win rates alone make no report` : 'no run is named', 'edpo report RUN [RUN...], RUN the --output_dir of edpo train');
  const names = new Set<string>();
  const runs: ReportRun[] = [];
  for (const folder of folders) runs.push(await readRun(folder, { listed: o.listed ?? 10, names }));
  const { html, notes } = await page(runs, beside.map(readWinRate), versionNotes(runs));
  const path = o.output ?? (folders.length === 1 ? join(folders[0]!, 'report.html') : 'report.html');
  write(path, html);
  return { path, bytes: Buffer.byteLength(html), runs: runs.map((r) => r.name), notes };
}

/** Runs of different versions stand in one report: what they are is said, on the page and to whoever made it. */
function versionNotes(runs: ReportRun[]): string[] {
  const known = runs.filter((r) => r.version !== undefined);
  if (new Set(known.map((r) => r.version)).size < 2) return [];
  return [`These runs were made by different versions of edpo (${known.map((r) => `${r.name} by ${r.version}`).join(', ')}); their figures may not mean the same.`];
}

function write(path: string, html: string): void {
  if (existsSync(path) && statSync(path).isDirectory()) throw new InputError(`cannot write ${path}: it is a folder`, `--output ${join(path, 'report.html')}`);
  try {
    writeAtomic(path, html);
  } catch (cause) {
    throw new InputError(`${(cause as Error).message.replace(/; what was complete before.*/, '')}; no report was written, the runs are as they were`, '--output FILE in a folder you can write to', cause);
  }
}
