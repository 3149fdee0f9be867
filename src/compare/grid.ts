import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { RunConfig } from '../config/keys.js';
import { loadConfig } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import { readYaml } from '../config/yaml.js';
import { EdpoError, InputError, InputErrors } from '../errors.js';
import { LOSS_NAMES } from '../model/losses/index.js';
import { TARGETS } from './targets.js';

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const settings = z.record(z.string(), z.union([scalar, z.array(scalar)]));
const schema = z.strictObject({
  /** A line for the page's head. */
  title: z.string().min(1).optional(),
  /** YAML of `edpo train` that all runs share; beside this file. */
  base: z.string().min(1),
  output_dir: z.string().min(1),
  /** A loss_type each, or a mapping of keys with loss_type (and a `name` where two would be called alike). */
  methods: z.array(z.union([z.string(), settings])).min(1),
  /** Every method runs under each of these mappings of keys. */
  overrides: z.array(settings).min(1).optional(),
  seeds: z.array(z.int().min(0)).min(1).default([42]),
  /** Keys of edpo eval-winrate; without a judge: lengths and KL on the policy's own samples; absent: no sampling. */
  winrate: settings.optional(),
  /** The checkpoints of each run are evaluated as its end is (Fig. 3). */
  checkpoints: z.boolean().default(false),
  /** λ: each run's end is also evaluated with logits λ f + (1 - λ) r, which previews β/λ (Proposition 1). */
  realign: z.array(z.number().min(0)).optional(),
  /** The paper's tables to stand beside the runs. */
  targets: z.array(z.enum(Object.keys(TARGETS) as [string, ...string[]])).optional(),
  /** Pairs with their texts in each of Appendix C's four lists; 0: none. */
  pairs: z.int().min(0).max(100).default(3),
});

/** One run of a comparison. */
export interface GridRun {
  /** The method's name in the comparison; runs of one method differ by overrides and seed. */
  method: string;
  name: string;
  seed: number;
  /** What `overrides` sets here, as typed. */
  varied: Record<string, string>;
  folder: string;
  /** Flags over the base file, as `edpo train` takes them. */
  flags: Record<string, string>;
  config: RunConfig;
}

/** Keys that the comparison gives itself. */
const OWN = ['loss_type', 'seed', 'ref_cache'];

export interface Grid {
  title: string | undefined;
  base: string;
  /** Flags of the command line: over the base file, under what a method or an override says. */
  shared: Record<string, string>;
  folder: string;
  refCache: string;
  runs: GridRun[];
  winrate: Record<string, string> | undefined;
  checkpoints: boolean;
  realign: number[];
  targets: string[];
  pairs: number;
}

/** Keys of edpo eval-winrate that the comparison gives itself. */
const OWN_WINRATE = ['model_name_or_path', 'ref_model_name_or_path', 'output_dir', 'realign'];

/** What is wrong with the keys of `winrate`: they are read long after the first run was trained. */
function winrateProblems(winrate: Record<string, string>, of: RunConfig): string[] {
  const own = OWN_WINRATE.filter((k) => k in winrate).map((k) => `winrate: ${k} is the comparison’s own`);
  const flags = { judge: 'none', ...Object.fromEntries(Object.entries(winrate).filter(([k]) => !OWN_WINRATE.includes(k))), model_name_or_path: of.model_name_or_path ?? '', data_files: 'held-out', output_dir: 'winrate' };
  try {
    loadConfig({ file: undefined, flags, env: process.env, command: 'eval-winrate' });
    return own;
  } catch (error) {
    if (!(error instanceof EdpoError)) throw error;
    return [...own, `winrate: ${oneLine(error)}`];
  }
}

const oneLine = (error: EdpoError): string => error.message.split('\n').map((l) => l.trim()).join(' ');

const asText = (v: z.infer<typeof settings>[string]): string => (Array.isArray(v) ? v.join(',') : String(v));
const asFlags = (keys: z.infer<typeof settings>): Record<string, string> => Object.fromEntries(Object.entries(keys).map(([k, v]) => [k, asText(v)]));

/**
 * Reads a comparison; every run's configuration is checked before the first one starts.
 * @param typed keys given as flags: for all runs; output_dir: another folder for the comparison
 * @throws InputErrors with all problems
 */
export function readGrid(path: string, typed: Record<string, string> = {}): Grid {
  const { output_dir: elsewhere, ...shared } = typed;
  const own = OWN.filter((k) => k in shared);
  if (own.length > 0) throw new InputErrors('the comparison sets these itself', own.map((k) => `--${k} ${shared[k]}`), 'methods, overrides and seeds in the comparison\u2019s file');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new InputError(`comparison ${path} cannot be read: ${(cause as Error).message}`, 'edpo compare --config cmp.yaml', cause);
  }
  const raw = Object.fromEntries(readYaml(text, path, []).map((e) => [e.key, e.value]));
  const parsed = schema.safeParse(raw);
  if (!parsed.success) throw new InputErrors(`${path} is no comparison`, parsed.error.issues.map((i) => `${i.path.join('.') || '(top)'}: ${i.message}`), `keys: ${Object.keys(schema.shape).join(', ')}; configs/compare/quickstart.yaml is an example`);
  const { base: given, output_dir: written, methods, overrides, seeds, winrate, title, checkpoints, realign = [], targets = [], pairs } = parsed.data;
  const folder = elsewhere ?? written;
  const base = resolve(dirname(path), given);
  const problems: string[] = [];
  const runs: GridRun[] = [];
  const refCache = join(folder, 'ref_cache');
  const names = new Set<string>();
  for (const m of methods) {
    const { name: called, ...keys } = typeof m === 'string' ? { loss_type: m } as z.infer<typeof settings> : m;
    const method = asText(called ?? (Array.isArray(keys['loss_type']) ? keys['loss_type'].join('+') : (keys['loss_type'] ?? '')));
    const wrong = methodProblem(keys['loss_type']);
    if (wrong !== undefined) {
      problems.push(`${method || JSON.stringify(m)}: ${wrong}`);
      continue;
    }
    if (!/^[\w.+-]+$/.test(method)) problems.push(`${JSON.stringify(method)}: a name is a folder's; letters, digits, . _ + - were expected`);
    if (names.has(method)) problems.push(`${method}: two methods of one name; give one of them another "name"`);
    names.add(method);
    for (const over of overrides ?? [{}]) {
      const varied = asFlags(over);
      const name = [method, ...Object.entries(varied).map(([k, v]) => `${k}${v}`)].join('-').replace(/[^\w.+-]/g, '_');
      for (const seed of seeds) {
        const out = join(folder, `${name}-s${seed}`);
        const flags = { ...shared, ...asFlags(keys), ...varied, seed: String(seed), output_dir: out, ref_cache: refCache };
        try {
          const { config } = loadConfig({ file: base, flags, env: process.env, command: 'train' });
          runs.push({ method, name, seed, varied, folder: out, flags, config });
        } catch (error) {
          if (!(error instanceof EdpoError)) throw error;
          problems.push(`${name}, seed ${seed}: ${oneLine(error)}`);
          break;
        }
      }
    }
  }
  if (winrate && runs[0]) problems.push(...winrateProblems(asFlags(winrate), runs[0].config));
  const twice = [...new Set(runs.map((r) => r.folder).filter((f, i, all) => all.indexOf(f) < i))];
  if (problems.length === 0) problems.push(...twice.map((f) => `${f}: two runs of one folder; overrides that are alike, or a seed twice`));
  if (problems.length > 0) throw new InputErrors(`${path}: ${problems.length} problem${problems.length > 1 ? 's' : ''}`, problems, 'edpo config --explain KEY says what a key means');
  return { title, base, shared, folder, refCache, runs, winrate: winrate && asFlags(winrate), checkpoints, realign, targets, pairs };
}

/** What is wrong with a method's loss_type; undefined where nothing is. */
function methodProblem(type: unknown): string | undefined {
  const names = (Array.isArray(type) ? type : String(type ?? '').split(',')).map((n) => String(n).trim());
  const odd = names.find((n) => !LOSS_NAMES.includes(n as never));
  if (odd === undefined && names.some((n) => n !== 'sft')) return undefined;
  const near = nearest(odd ?? 'sft', LOSS_NAMES);
  return `loss_type ${JSON.stringify(odd ?? 'sft')} is no method to compare${near && odd !== undefined ? `; did you mean ${near}?` : ''}; edpo methods lists them`;
}

/** The i-th of n parts, round robin, so that every part has a bit of each method. */
export function shardOf(runs: GridRun[], shard: string | undefined): GridRun[] {
  if (shard === undefined) return runs;
  const [, i, n] = (/^(\d+)\/(\d+)$/.exec(shard) ?? []).map(Number);
  if (i === undefined || n === undefined || n < 1 || i >= n) throw new InputError(`shard: expected i/n with i from 0 to n - 1, got ${shard}`, '--shard 0/4');
  return runs.filter((_, k) => k % n === i);
}
