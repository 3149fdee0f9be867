import { ropeTable, type RopeOptions } from '../gpu/ops/rope.js';
import type { Tensor } from '../gpu/tensor.js';
import type { ModelSpec } from './families/spec.js';

/** Width of the rotary tables, R; 0 with learned positions. */
export const rotaryWidth = (spec: ModelSpec): number => 2 * (spec.block.position.rotary[0]?.frequencies.length ?? 0);

/** Tokens above which a document is turned by the long frequencies; undefined where none can be so long, or there are none. */
export const longFrom = (spec: ModelSpec, positions: number): number | undefined => {
  const from = Math.min(...spec.block.position.rotary.map((r) => r.long?.from ?? Infinity));
  return from < positions ? from : undefined;
};

/** Rows of all tables for `positions` positions: per kind of RoPE those of the short frequencies, then, where documents can be so long, of the long. */
export const rotaryRows = (spec: ModelSpec, positions: number): number =>
  spec.block.position.rotary.length * positions * (longFrom(spec, positions) === undefined ? 1 : 2);

/** [rotaryRows, R]. */
export function rotaryTables(spec: ModelSpec, positions: number): Float32Array {
  const tables = spec.block.position.rotary.flatMap(({ frequencies, scale, long }) => [
    ropeTable(positions, frequencies, scale),
    ...(longFrom(spec, positions) === undefined ? [] : [ropeTable(positions, long?.frequencies ?? frequencies, scale)]),
  ]);
  const all = new Float32Array(tables.reduce((n, t) => n + t.length, 0));
  let at = 0;
  for (const t of tables) {
    all.set(t, at);
    at += t.length;
  }
  return all;
}

/** Which of the tables layer l turns by. */
export const layerRotary = ({ C, block }: ModelSpec, l: number, tables: Tensor): RopeOptions => {
  const { rotary, of } = block.position;
  return { C, first: of[l]! * ((tables.shape[0] as number) / rotary.length) };
};
