import type { Document } from '../batch/pack.js';
import type { ReferenceRows } from '../engine_types.js';

/** Documents of a split, addressed by position 0 .. count-1 (not by row number). */
export interface DocumentSource {
  count: number;
  /** Token rows of a document: prompt + branches. */
  rows(i: number): number;
  /** Tokens the loss is over (all branches), for losses normalised by tokens. */
  tokens(i: number): number;
  /** Tokens of the first (chosen) branch. */
  chosenTokens(i: number): number;
  /** Branches of a document, where they are not all as many. */
  sequences?(i: number): number;
  /** Row number in the data. */
  id(i: number): number;
  document(i: number): Document;
  /** Another document's response, to run under this prompt (KTO), and its tokens. */
  mismatched?(i: number): ArrayLike<number>;
  mismatchedTokens?(i: number): number;
}

/** Which responses of a document run: its own, another document's, or both, its own first. */
export type Members = 'own' | 'mismatched' | 'both';

export function membersOf(source: DocumentSource, i: number, which: Members): Document {
  const own = source.document(i);
  if (which === 'own') return own;
  const other = source.mismatched!(i);
  return which === 'both' ? { ...own, branches: [...own.branches, other] } : { ...own, branches: [other], numbers: [2] };
}

/** Reference quantities of documents, in the order their scored rows have in a packed batch. */
export interface ReferenceSource {
  rows(positions: number[], which: Members): ReferenceRows | undefined;
}

/** The reference runs on the GPU, or is not needed. */
export const noReferenceRows: ReferenceSource = { rows: () => undefined };
