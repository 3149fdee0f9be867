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
  /** Runs of different versions of edpo in one report, with a note instead of a refusal. */
  mixedVersions?: boolean;
}

/**
 * Writes the report and says where.
 * @throws InputError for a folder that is no run, a broken line of a ledger or log, versions that differ, a place that cannot be written
 */
export async function writeReport(o: ReportOptions): Promise<{ path: string; bytes: number; runs: string[] }> {
  const folders = o.folders.filter((f) => !isWinRateFolder(f));
  const beside = o.folders.filter(isWinRateFolder);
  if (folders.length === 0) throw new InputError(beside.length > 0 ? `${beside.join(', ')}: win rates alone make no report` : 'no run is named', 'edpo report RUN [RUN...], RUN the --output_dir of edpo train');
  const names = new Set<string>();
  const runs: ReportRun[] = [];
  for (const folder of folders) runs.push(await readRun(folder, { listed: o.listed ?? 10, names }));
  const notes = versionNotes(runs, o.mixedVersions ?? false);
  const html = await page(runs, beside.map(readWinRate), notes);
  const path = o.output ?? (folders.length === 1 ? join(folders[0]!, 'report.html') : 'report.html');
  write(path, html);
  return { path, bytes: Buffer.byteLength(html), runs: runs.map((r) => r.name) };
}

function versionNotes(runs: ReportRun[], allowed: boolean): string[] {
  const known = runs.filter((r) => r.version !== undefined);
  const versions = [...new Set(known.map((r) => r.version))];
  if (versions.length < 2) return [];
  const who = known.map((r) => `${r.name} by ${r.version}`).join(', ');
  if (!allowed) throw new InputError(`these runs were made by different versions of edpo: ${who}; their figures may not mean the same`, '--mixed_versions to put them into one report all the same, with a note');
  return [`These runs were made by different versions of edpo (${who}); their figures may not mean the same.`];
}

function write(path: string, html: string): void {
  if (existsSync(path) && statSync(path).isDirectory()) throw new InputError(`cannot write ${path}: it is a folder`, `--output ${join(path, 'report.html')}`);
  try {
    writeAtomic(path, html);
  } catch (cause) {
    throw new InputError(`${(cause as Error).message.replace(/; what was complete before.*/, '')}; no report was written, the runs are as they were`, '--output FILE in a folder you can write to', cause);
  }
}
