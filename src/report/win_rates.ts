import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ModelFolder } from '../model/files/hf_folder.js';
import { isObject, json } from './json.js';

/** A winrate.json (or eval.json), its folder and what to call it. */
export interface WinRateFile { name: string; path: string; value: Record<string, unknown> }

const FILE = 'winrate.json';
/** Ends the name of a win rate of the weights a run began with. */
export const BEFORE = ' (before training)';
export const hasWinRate = (folder: string): boolean => existsSync(join(folder, FILE));
export const readWinRate = (folder: string): WinRateFile => ({ name: basename(resolve(folder)), path: resolve(folder), value: json(join(folder, FILE)) });

/**
 * Win rates in folders beside a run that were measured on its weights, before training or after: winrate.json names the policy by the hash
 * of its weights, so no folder of another run is taken.
 */
export function winRatesBeside(run: string, manifest: Record<string, unknown> | undefined): WinRateFile[] {
  const parent = dirname(resolve(run));
  let names: string[];
  try {
    names = readdirSync(parent, { withFileTypes: true }).filter((d) => d.isDirectory() && d.name !== basename(resolve(run)) && hasWinRate(join(parent, d.name))).map((d) => d.name).sort();
  } catch {
    return [];
  }
  if (names.length === 0) return [];
  const before = isObject(manifest?.['hashes']) ? manifest['hashes']['policy'] : undefined;
  const after = weightsHash(run);
  const found = names.flatMap((name): WinRateFile[] => {
    const file = readWinRate(join(parent, name));
    const policy = file.value['policy'];
    if (typeof policy !== 'string') return [];
    if (policy === after) return [file];
    return policy === before ? [{ ...file, name: `${name}${BEFORE}` }] : [];
  });
  // What the base won says something beside what the run won.
  return found.some((f) => !f.name.endsWith(BEFORE)) ? found : [];
}

/** Undefined where the run has written no model yet. */
function weightsHash(run: string): string | undefined {
  if (!existsSync(join(run, 'config.json'))) return undefined;
  try {
    return ModelFolder.open(run).weightsHash();
  } catch {
    return undefined;
  }
}
