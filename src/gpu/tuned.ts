import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { EdpoError } from '../errors.js';
import { VERSION } from '../version.js';
import type { Gpu } from './device.js';
import { matrixConfig, matrixRefusal, tileFor, type MatrixTile } from './matrices.js';
import { attentionRefusal } from './ops/attention_matrix_tile.js';
import type { AttentionPass } from './ops/attention_tiles.js';
import { plainRefusal } from './ops/matmul_tiled.js';

const size = z.int().min(1).max(1024);
const matrix = z.strictObject({ BM: size, BN: size, BK: size, WM: size, WN: size });
const plain = z.strictObject({ BM: size, BN: size, BK: size, RM: size, RN: size });
const attentionTile = z.strictObject({ BM: size, BN: size, WM: size, WN: size, PAD: z.int().min(0).max(8), REG: z.int().min(0).max(1) }).optional();
const schema = z.strictObject({
  adapter: z.string(), driver: z.string(), edpo: z.string(),
  /** Tile of products in matrices (`dtype: mixed_f16`), and of large plain ones; absent: the usual one is the best. */
  matrix: matrix.optional(), plain: plain.optional(),
  /** Tiles of attention in matrices, by the width of a head and pass. */
  attention: z.record(z.string().regex(/^\d+$/), z.strictObject({ fwd: attentionTile, dq: attentionTile, dkv: attentionTile })).optional(),
});

/** What `edpo doctor --tune` found to be faster on this adapter than what edpo does by itself. No bit of a result depends on it. */
export type Tuned = Pick<z.infer<typeof schema>, 'matrix' | 'plain' | 'attention'>;

const keyOf = (gpu: Gpu): { adapter: string; driver: string; edpo: string } => ({ adapter: gpu.card, driver: gpu.info.description, edpo: VERSION });

/** Where the choices for this adapter, driver and version of edpo are kept: the user's cache folder. */
export function tunedPath(gpu: Gpu): string {
  const key = createHash('sha256').update(JSON.stringify(keyOf(gpu))).digest('hex').slice(0, 16);
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'edpo', 'tune', `${key}.json`);
}

/** Reads the choices kept for this adapter; `problem` where there is a file that is none. */
export function readTuned(gpu: Gpu): { tuned?: Tuned; problem?: string } {
  const path = tunedPath(gpu);
  if (!existsSync(path)) return {};
  const problem = (what: string): { problem: string } => ({ problem: `${path} is no tune file of this adapter and is not used (${what}); edpo doctor --tune makes it anew` });
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    return problem((error as Error).message);
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success) return problem(parsed.error.issues.map((i) => `${i.path.join('.') || 'file'}: ${i.message}`).join('; '));
  const { adapter, driver, edpo, ...tuned } = parsed.data;
  if (JSON.stringify({ adapter, driver, edpo }) !== JSON.stringify(keyOf(gpu))) return problem(`it is of ${adapter}, ${driver}, edpo ${edpo}`);
  const config = matrixConfig(gpu);
  const inMatrices = (ask: (tile: MatrixTile) => string | undefined): string | undefined => (typeof config === 'string' ? config : ask({ ...tileFor(config, gpu.limits), ...tuned.matrix }));
  const why = (tuned.matrix && inMatrices((tile) => matrixRefusal(tile, gpu.limits)))
    ?? (tuned.plain && plainRefusal(tuned.plain, gpu.limits))
    ?? Object.entries(tuned.attention ?? {}).flatMap(([C, passes]) => Object.entries(passes).map(([pass, tile]) => inMatrices((m) => attentionRefusal(pass as AttentionPass, Number(C), m, tile, gpu.limits)))).find((x) => x !== undefined);
  return why ? problem(why) : { tuned };
}

/** Keeps choices for this adapter. @returns the file */
export function writeTuned(gpu: Gpu, tuned: Tuned): string {
  const path = tunedPath(gpu);
  const partial = `${path}.partial-${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(partial, `${JSON.stringify({ ...keyOf(gpu), ...tuned }, null, 2)}\n`);
    renameSync(partial, path);
  } catch (cause) {
    throw new EdpoError(`the tuned choices cannot be kept in ${path}: ${(cause as Error).message}`, { hint: 'set XDG_CACHE_HOME to a folder you can write to', cause });
  }
  return path;
}
