import { gradNormTable } from '../gpu/ops/grad_norm.js';
import { pathsOfEnvironment, type Paths } from '../gpu/paths.js';
import { partBytes } from '../gpu/tensor.js';
import type { ParameterSpec } from './families/spec.js';
import type { Storage } from './storage.js';

/**
 * Trained tensors below this lie behind one another in an arena: one buffer of values, one of gradients, and what an optimiser keeps of each element likewise. A launch
 * behind another it depends on took an H100 19.6 µs (13.2 of it the host's encoding), in which AdamW moves 43 MB, 30 bytes a parameter; a tensor of 1 MiB takes 3.6 µs of it.
 */
export const ARENA_TENSOR_BYTES = 1 << 20;

/** Tensors that an optimiser moves alike: vectors, which do not decay, and matrices. */
export type ArenaGroup = 'vectors' | 'matrices';

/** Where in an arena a tensor lies, in bytes. */
export interface ArenaMember { spec: ParameterSpec; offset: number }
export interface ArenaLayout { group: ArenaGroup; bytes: number; members: ArenaMember[] }

const bytesOf = ({ shape }: ParameterSpec): number => 4 * shape.reduce((a, b) => a * b, 1);

/** The group of a trained tensor; none for vocabulary tables, large matrices, and bf16 masters, whose rounding counts elements of the tensor. */
function groupOf(p: ParameterSpec, storage: Storage): ArenaGroup | undefined {
  if (p.table || bytesOf(p) >= ARENA_TENSOR_BYTES) return undefined;
  if (p.shape.length === 1) return 'vectors';
  return storage(p) === 'f32' ? 'matrices' : undefined;
}

/**
 * The arenas of these trained tensors, each of at most `most` bytes (or of one tensor). The smallest tensors stand first, so that those an optimiser treats otherwise
 * than larger ones lie together. Every part ends at a multiple of PART_ALIGN, with zeros that stay zero.
 */
export function layArenas(list: ParameterSpec[], storage: Storage, most: number): ArenaLayout[] {
  return (['vectors', 'matrices'] as const).flatMap((group) => {
    const arenas: ArenaLayout[] = [];
    for (const spec of list.filter((p) => groupOf(p, storage) === group).sort((a, b) => bytesOf(a) - bytesOf(b))) {
      const size = partBytes(bytesOf(spec));
      const last = arenas.at(-1);
      if (last && last.bytes + size <= most) {
        last.members.push({ spec, offset: last.bytes });
        last.bytes += size;
      } else arenas.push({ group, bytes: size, members: [{ spec, offset: 0 }] });
    }
    return arenas;
  });
}

/** Bytes that arenas take beyond their elements': of values (and of each moment that lies so), and of gradients, with the tables of their norm. */
export function arenaExtra(list: ParameterSpec[], storage: Storage, paths: Paths = pathsOfEnvironment()): { values: number; gradients: number } {
  const inside = list.filter((p) => inArena(p, storage, paths));
  const values = inside.reduce((n, p) => n + partBytes(bytesOf(p)) - bytesOf(p), 0);
  return { values, gradients: values + (paths.uses('grad_norm_grouped') ? gradNormTable(inside.map((p) => bytesOf(p) / 4)) : 0) };
}

/** Does this trained tensor lie in an arena? */
export const inArena = (p: ParameterSpec, storage: Storage, paths: Paths = pathsOfEnvironment()): boolean => paths.uses('parameter_arena') && groupOf(p, storage) !== undefined;
