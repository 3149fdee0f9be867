import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { schema, type RunConfig } from '../config/keys.js';
import { InputErrors } from '../errors.js';
import { lossOf } from '../model/session.js';
import type { Grid } from './grid.js';
import { finished } from './points.js';

/** Keys that say how a run is started or told of, not what it is; what `gpu_memory` decides is asked for by itself. */
const ASIDE = ['resume_from_checkpoint', 'overwrite_output_dir', 'run_name', 'report_to', 'report_html', 'gpu_memory', 'head_tiles', 'offline', 'dataset_num_proc', 'allow_large_cache'];

/** A finished run that was made under another configuration would stand in the table under a wrong name: refused, all at once. */
export function refuseChanged(grid: Grid): void {
  const problems: string[] = [];
  // Keys that the version of then did not have are as if left out.
  const unset = JSON.parse(JSON.stringify(schema.parse({}))) as Record<string, unknown>;
  for (const r of grid.runs.filter(finished)) {
    const { config: then, memory } = JSON.parse(readFileSync(join(r.folder, 'run.json'), 'utf8')) as { config?: Record<string, unknown>; memory?: { head_tiles?: string } };
    if (!then) continue;
    const was = { ...unset, ...then };
    const now = JSON.parse(JSON.stringify(r.config)) as Record<string, unknown>;
    const keys = [...new Set([...Object.keys(was), ...Object.keys(now)])].filter((k) => !ASIDE.includes(k) && JSON.stringify(was[k]) !== JSON.stringify(now[k]));
    const changes = keys.map((k) => `${k} ${JSON.stringify(was[k] ?? null)}, now ${JSON.stringify(now[k] ?? null)}`);
    changes.push(...otherTiles(was as Partial<RunConfig>, memory?.head_tiles ?? 'recomputed', r.config));
    if (changes.length > 0) problems.push(`${r.folder} was made with ${changes.join('; ')}`);
  }
  if (problems.length > 0) throw new InputErrors(`${problems.length} finished run${problems.length > 1 ? 's' : ''} of another configuration`, problems, 'another output_dir, another name, or remove those folders to make them again');
}

/**
 * Whether a run of now may do otherwise with the head's logits than the finished one did (`made`), which rounds its gradients otherwise.
 * `auto` keeps the more the more memory there is (memory_advice.ts), so that the plan of a model that is not opened here need not be made.
 */
function otherTiles(was: Partial<RunConfig>, made: string, now: RunConfig): string[] {
  const most = lossOf(now).needs.klGradient ? 'kept_both' : 'kept';
  const told = (tiles: unknown): string => (tiles === 'auto' ? `"auto" ("${made}")` : JSON.stringify(tiles));
  if (now.head_tiles !== 'auto') {
    const wanted = now.head_tiles === 'kept_both' ? most : now.head_tiles;
    return wanted === made ? [] : [`head_tiles ${told(was.head_tiles)}, now ${JSON.stringify(now.head_tiles)}`];
  }
  const [before, after] = [was.gpu_memory ?? 0, now.gpu_memory ?? 0];
  if (now.dtype !== 'mixed_f16' || after === 0) {
    if (made === 'recomputed') return [];
  } else if (was.head_tiles === 'auto' && (after === before || made === (after > before ? most : 'recomputed'))) return [];
  return [`head_tiles ${told(was.head_tiles)} at gpu_memory ${was.gpu_memory ?? null}, now "auto" at ${now.gpu_memory ?? null}: head_tiles: ${made} does as that run did`];
}
