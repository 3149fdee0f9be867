import { EdpoError } from '../errors.js';

const MAX_PER_DIMENSION = 65535;

/** Splits a count of workgroups into [x, y, 1] under the limit; kernels use `linear_group` to join them. */
export function foldGrid(groups: number): [number, number, number] {
  if (groups <= MAX_PER_DIMENSION) return [groups, 1, 1];
  const x = Math.ceil(Math.sqrt(groups));
  if (x > MAX_PER_DIMENSION) throw new EdpoError(`${groups} workgroups do not fit a ${MAX_PER_DIMENSION}^2 grid`);
  return [x, Math.ceil(groups / x), 1];
}

/** One thread per item. */
export const perThread = (items: number, workgroup: number): number => Math.ceil(items / workgroup);

/**
 * One subgroup per row. The subgroup size may vary between the adapter's bounds; counting with the largest
 * gives enough workgroups for every size, and rows past the end return at once.
 */
export const perRow = (rows: number, workgroup: number, subgroupMax: number): number =>
  Math.ceil(rows / Math.max(1, Math.floor(workgroup / subgroupMax)));
