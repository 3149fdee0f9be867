import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomic } from '../model/files/atomic.js';
import { standaloneSvg, valuesCsv } from '../report/figure_files.js';
import { readRun, type ReportRun } from '../report/run_folder.js';
import type { Grid, GridRun } from './grid.js';
import { comparisonPage } from './page.js';
import { finished } from './points.js';
import type { RunResult } from './results.js';

/** Writes compare.html, and on request each figure as SVG and its values as CSV. */
export async function writeComparison(grid: Grid, results: RunResult[], figures: boolean): Promise<{ path: string; figures: number; notes: string[] }> {
  const trained = new Map<string, ReportRun>();
  for (const r of grid.runs.filter(finished)) trained.set(`${r.name}-s${r.seed}`, { ...(await readRun(r.folder, { listed: 0, names: new Set() })), name: nameOf(grid, r) });
  const heldout: ReportRun[] = [];
  for (const r of dpoRuns(grid)) {
    const folder = join(r.folder, 'heldout');
    if (!existsSync(join(folder, 'pairs.ndjson'))) continue;
    // The evaluation's folder does not know its data; the run's configuration does.
    heldout.push({ ...(await readRun(folder, { listed: grid.pairs, names: new Set() })), name: nameOf(grid, r), config: r.config as unknown as Record<string, unknown> });
  }
  const page = await comparisonPage(grid, results, { trained, heldout });
  const path = join(grid.folder, 'compare.html');
  writeAtomic(path, page.html);
  if (figures) {
    const to = join(grid.folder, 'figures');
    mkdirSync(to, { recursive: true });
    for (const plot of page.plots) {
      writeAtomic(join(to, `${plot.id}.svg`), await standaloneSvg(plot));
      writeAtomic(join(to, `${plot.id}.csv`), valuesCsv(plot));
    }
  }
  return { path, figures: figures ? page.plots.length : 0, notes: page.notes };
}

/** Plain DPO, as Fig. 4 has it: one seed. */
const dpoRuns = (grid: Grid): GridRun[] => grid.runs.filter((r) => finished(r) && r.config.loss_type === 'sigmoid' && !r.config.sync_ref_model && r.seed === grid.runs[0]!.seed).slice(0, 4);
const nameOf = (grid: Grid, r: GridRun): string => (new Set(grid.runs.map((x) => x.seed)).size > 1 ? `${r.name}, seed ${r.seed}` : r.name);
