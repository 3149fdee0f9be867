import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { RunConfig } from '../config/keys.js';
import { loadConfig } from '../config/load.js';
import { LOSS_NAMES } from '../model/losses/index.js';
import { nearest } from '../config/nearest.js';
import { readYaml } from '../config/yaml.js';
import { EdpoError, InputError, InputErrors } from '../errors.js';

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const overrides = z.record(z.string(), scalar);
const schema = z.strictObject({
  /** YAML of `edpo train` that all runs share; beside this file. */
  base: z.string().min(1),
  output_dir: z.string().min(1),
  /** A loss_type each, or a mapping of keys with loss_type (and a `name` where two would be called alike). */
  methods: z.array(z.union([z.string(), overrides])).min(1),
  seeds: z.array(z.int().min(0)).min(1).default([42]),
  /** Keys of edpo eval-winrate; absent: no win rates. */
  winrate: overrides.optional(),
});

/** One run of a comparison. */
export interface GridRun {
  name: string;
  seed: number;
  folder: string;
  /** Flags over the base file, as `edpo train` takes them. */
  flags: Record<string, string>;
  config: RunConfig;
}

export interface Grid {
  base: string;
  folder: string;
  refCache: string;
  runs: GridRun[];
  winrate: Record<string, string> | undefined;
}

/** Reads a comparison; every run's configuration is checked before the first one starts. Throws InputErrors with all problems. */
export function readGrid(path: string): Grid {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new InputError(`comparison ${path} cannot be read: ${(cause as Error).message}`, 'edpo compare --config cmp.yaml', cause);
  }
  const raw = Object.fromEntries(readYaml(text, path, []).map((e) => [e.key, e.value]));
  const parsed = schema.safeParse(raw);
  if (!parsed.success) throw new InputErrors(`${path} is no comparison`, parsed.error.issues.map((i) => `${i.path.join('.') || '(top)'}: ${i.message}`), 'keys: base, output_dir, methods, seeds, winrate; configs/compare/quickstart.yaml is an example');
  const { base: given, output_dir: folder, methods, seeds, winrate } = parsed.data;
  const base = resolve(dirname(path), given);
  const problems: string[] = [];
  const names = new Set<string>();
  const runs: GridRun[] = [];
  const refCache = join(folder, 'ref_cache');
  for (const m of methods) {
    const { name: called, ...keys } = typeof m === 'string' ? { loss_type: m } as Record<string, string | number | boolean> : m;
    const loss = String(keys['loss_type'] ?? '');
    const name = String(called ?? loss);
    if (!LOSS_NAMES.includes(loss as never) || loss === 'sft') {
      const near = nearest(loss, LOSS_NAMES);
      problems.push(`${name || JSON.stringify(m)}: loss_type ${JSON.stringify(loss)} is no method to compare${near ? `; did you mean ${near}?` : ''}; edpo methods lists them`);
      continue;
    }
    if (!/^[\w.+-]+$/.test(name)) problems.push(`${JSON.stringify(name)}: a name is a folder's; letters, digits, . _ + - were expected`);
    if (names.has(name)) problems.push(`${name}: two methods of one name; give one of them another "name"`);
    names.add(name);
    for (const seed of seeds) {
      const out = join(folder, `${name}-s${seed}`);
      const flags = Object.fromEntries(Object.entries({ ...keys, seed, output_dir: out, ref_cache: refCache }).map(([k, v]) => [k, String(v)]));
      try {
        const { config } = loadConfig({ file: base, flags, env: process.env, command: 'train' });
        runs.push({ name, seed, folder: out, flags, config });
      } catch (error) {
        if (!(error instanceof EdpoError)) throw error;
        problems.push(`${name}, seed ${seed}: ${error.message.split('\n').map((l) => l.trim()).join(' ')}`);
        break;
      }
    }
  }
  if (problems.length > 0) throw new InputErrors(`${path}: ${problems.length} problem${problems.length > 1 ? 's' : ''}`, problems, 'edpo config --explain KEY says what a key means');
  return { base, folder, refCache, runs, winrate: winrate && Object.fromEntries(Object.entries(winrate).map(([k, v]) => [k, String(v)])) };
}

/** The i-th of n parts, round robin, so that every part has a bit of each method. */
export function shardOf(runs: GridRun[], shard: string | undefined): GridRun[] {
  if (shard === undefined) return runs;
  const [, i, n] = (/^(\d+)\/(\d+)$/.exec(shard) ?? []).map(Number);
  if (i === undefined || n === undefined || n < 1 || i >= n) throw new InputError(`shard: expected i/n with i from 0 to n - 1, got ${shard}`, '--shard 0/4');
  return runs.filter((_, k) => k % n === i);
}
