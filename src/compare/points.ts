import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { listCheckpoints } from '../model/train/checkpoint.js';
import type { Grid, GridRun } from './grid.js';

/** A policy of a run that is evaluated: its end, one of its checkpoints, or its end under another λ. */
export interface Point {
  /** Folder of the policy. */
  model: string;
  /** Where its evaluations lie: `heldout` and `winrate` in it. */
  folder: string;
  /** Optimiser step of a checkpoint. */
  step?: number;
  realign?: number;
}

export const finished = (r: GridRun): boolean => existsSync(join(r.folder, 'run.json'));
export const heldout = (p: Point): string => join(p.folder, 'heldout');
export const winrate = (p: Point): string => join(p.folder, 'winrate');

/** What is evaluated of a finished run, its end first. */
export function pointsOf(grid: Grid, r: GridRun): Point[] {
  const of = (name: string): string => join(r.folder, 'points', name);
  return [
    { model: r.folder, folder: r.folder },
    ...(grid.checkpoints ? listCheckpoints(r.folder).map((c) => ({ model: c.path, folder: of(`checkpoint-${c.step}`), step: c.step })) : []),
    ...grid.realign.map((realign) => ({ model: r.folder, folder: of(`realign-${realign}`), realign })),
  ];
}
