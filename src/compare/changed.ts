import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { schema } from '../config/keys.js';
import { InputErrors } from '../errors.js';
import type { Grid } from './grid.js';
import { finished } from './points.js';

/** Keys that say how a run is started or told of, not what it is. */
const ASIDE = ['resume_from_checkpoint', 'overwrite_output_dir', 'run_name', 'report_to', 'report_html', 'gpu_memory', 'offline', 'dataset_num_proc', 'allow_large_cache'];

/** A finished run that was made under another configuration would stand in the table under a wrong name: refused, all at once. */
export function refuseChanged(grid: Grid): void {
  const problems: string[] = [];
  // Keys that the version of then did not have are as if left out.
  const unset = JSON.parse(JSON.stringify(schema.parse({}))) as Record<string, unknown>;
  for (const r of grid.runs.filter(finished)) {
    const then = (JSON.parse(readFileSync(join(r.folder, 'run.json'), 'utf8')) as { config?: Record<string, unknown> }).config;
    if (!then) continue;
    const was = { ...unset, ...then };
    const now = JSON.parse(JSON.stringify(r.config)) as Record<string, unknown>;
    const keys = [...new Set([...Object.keys(was), ...Object.keys(now)])].filter((k) => !ASIDE.includes(k) && JSON.stringify(was[k]) !== JSON.stringify(now[k]));
    if (keys.length > 0) problems.push(`${r.folder} was made with ${keys.map((k) => `${k} ${JSON.stringify(was[k] ?? null)}, now ${JSON.stringify(now[k] ?? null)}`).join('; ')}`);
  }
  if (problems.length > 0) throw new InputErrors(`${problems.length} finished run${problems.length > 1 ? 's' : ''} of another configuration`, problems, 'another output_dir, another name, or remove those folders to make them again');
}
