import type { MatrixTile } from '../matrices.js';
import type { Program } from '../program.js';
import { capacityOf, partBytes, Tensor, type Extent } from '../tensor.js';
import { padded } from './operand_layout.js';

/*
 * Which blocks of a gradient operand hold anything but zeros: of most of a vocabulary, and of rows whose pair has no gradient (a hinge that is met), all of it is zero or below
 * what f16 keeps of a gradient scaled by its largest. The kernel that writes the operand raises a flag for each block it puts a number into; the two products that read it leave out
 * the steps whose block has none. A step of zeros adds nothing, not in the last bit, as long as the other operand is finite (an inf there would have made a NaN of it).
 * Blocks are a product's steps: BM rows x BK columns where the operand's columns are the inner axis (NN), BK rows x BM columns where its rows are (TN), one list behind the other.
 */

/** Flags of an operand, and where its list for TN begins. */
export interface Filled { flags: Tensor; tn: number }

/** Words of both lists for an operand of so many rows and columns, to the end of a part of a tensor; where TN's begins. */
export function filledWords(rows: number, columns: number, t: MatrixTile): { tn: number; words: number } {
  const tn = (padded(rows, t) * padded(columns, t)) / (t.BM * t.BK);
  return { tn, words: partBytes(4 * 2 * tn) / 4 };
}

/** Bytes of the flags of a vocabulary of V columns in tiles of `width`. */
export const filledBytes = (rows: number, V: number, width: number, t: MatrixTile): number =>
  4 * (Math.floor(V / width) * filledWords(rows, width, t).words + (V % width > 0 ? filledWords(rows, V % width, t).words : 0));

/** Room for the flags of operands of `rows` and each of these columns: one tensor [words], cleared at once, and each one's part of it. */
export function filledRoom(p: Program, label: string, rows: Extent, columns: number[], t: MatrixTile): { all: Tensor; each: Filled[] } {
  const lists = columns.map((n) => filledWords(capacityOf(rows), n, t));
  const all = new Tensor(p.gpu, label, [lists.reduce((n, l) => n + l.words, 0)], 'u32');
  let at = 0;
  const each = lists.map(({ tn, words }, i) => ({ flags: all.part(`${label} ${i}`, [words], 4 * (at += words) - 4 * words), tn }));
  return { all, each };
}

/** Nothing is noted of a `packKernel`'s words. */
export const UNNOTED = 'fn wrote(row: u32, c: u32, x: vec4<u32>) {}';
/** Raises the flags of what a `packKernel` writes: vec4 c of a row, x. A zero's sign is none. */
export const NOTED = `fn raise(i: u32) { if (atomicLoad(&filled[i]) == 0u) { atomicStore(&filled[i], 1u); } }
fn wrote(row: u32, c: u32, x: vec4<u32>) {
  if (all((x & vec4<u32>(0x7fff7fffu)) == vec4<u32>())) { return; }
  raise(row / FM * (args.W * 8u / FK) + c * 8u / FK);
  raise(args.filled_tn + row / FK * (args.W * 8u / FM) + c * 8u / FM);
}`;
/** The constants of a kernel that notes. */
export const notedTune = (t: MatrixTile): Record<string, number> => ({ FM: t.BM, FK: t.BK });

/** A product's next step from this one on, `steps` where there is none: all of them, or those with a flag. */
export const EVERY_STEP = 'fn filled_from(step: u32, steps: u32, m0: u32, first: u32) -> u32 { return step; }';
export const filledSteps = (form: 'nn' | 'tn'): string => `fn filled_from(start: u32, steps: u32, m0: u32, first: u32) -> u32 {
  var step = start;
  while (step < steps && filled[${form === 'nn' ? 'm0 / BM * (args.sa * 8u / BK) + first / BK + step' : 'args.filled_tn + (first / BK + step) * (args.sa * 8u / BM) + m0 / BM'}] == 0u) { step++; }
  return step;
}`;
