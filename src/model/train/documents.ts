import { InputError } from '../../errors.js';
import type { TokenStore } from '../data/store.js';
import type { LossDefinition } from '../losses/types.js';
import type { DocumentSource } from './types.js';

/** Pairs split into single responses: document i is a side of this row (0 chosen, 1 rejected). */
export const rowOf = (i: number): number => i >> 1;
export const sideOf = (i: number): 0 | 1 => (i & 1) as 0 | 1;

/** Does this method split the store's pairs into single responses? */
export const isSplit = (store: TokenStore, loss: LossDefinition): boolean => loss.needs.unpaired === true && store.sides === 2;

/**
 * A token store as documents of the packer, as `loss` wants them (pairs as they are where absent).
 * @param room tokens of a prompt with a mismatched response, which is cut to it
 */
export function documentsOf(store: TokenStore, loss?: LossDefinition, room = Infinity): DocumentSource {
  const source = loss && isSplit(store, loss) ? splitPairs(store) : whole(store);
  if (loss?.group?.of !== 'mismatched') return source;
  const split = isSplit(store, loss);
  const others = new Mismatches(store, room);
  return {
    ...source,
    mismatched: (i) => (split ? others.response(rowOf(i), sideOf(i)) : others.response(i, 0)),
    mismatchedTokens: (i) => (split ? others.tokens(rowOf(i), sideOf(i)) : others.tokens(i, 0)),
  };
}

const whole = (store: TokenStore): DocumentSource => ({
  count: store.count,
  id: (i) => store.ids[i]!,
  ...(store.lists ? { sequences: (i: number) => store.responseLengths[i]!.length } : {}),
  rows: (i) => store.responseLengths[i]!.reduce((a, b) => a + b, store.promptLengths[i]!),
  tokens: (i) => store.responseLengths[i]!.reduce((a, b) => a + b, 0),
  chosenTokens: (i) => store.responseLengths[i]![0]!,
  document: (i) => {
    const { id, prompt, responses, weights } = store.get(i);
    return { id, prompt, branches: responses, ...(weights ? { weights } : {}), ...(store.lists ? { scores: store.scores[i]! } : {}), ...(store.labels ? { desirable: store.labels[i]! } : {}) };
  },
});

/** Each pair as two documents under its row number: the chosen response, desirable, and the rejected one. */
function splitPairs(store: TokenStore): DocumentSource {
  const tokens = (i: number): number => store.responseLengths[rowOf(i)]![sideOf(i)]!;
  return {
    count: 2 * store.count,
    id: (i) => store.ids[rowOf(i)]!,
    rows: (i) => store.promptLengths[rowOf(i)]! + tokens(i),
    tokens,
    chosenTokens: tokens,
    document: (i) => {
      const { id, prompt, responses } = store.get(rowOf(i));
      return { id, prompt, branches: [responses[sideOf(i)]!], desirable: sideOf(i) === 0 };
    },
  };
}

/**
 * KTO's mismatched pairs, from the data alone: each prompt with the response of the nearest row before it (round the end) that has another prompt. So they
 * are the same whatever the order, group or micro-batch, and the reference's log-probs of them can be cached.
 */
export class Mismatches {
  private readonly before: Int32Array;
  constructor(private readonly store: TokenStore, private readonly room: number) {
    this.before = new Int32Array(store.count).fill(-1);
  }

  /** The row whose response stands under the prompt of `row`. */
  from(row: number): number {
    const { store, before } = this;
    if (before[row]! >= 0) return before[row]!;
    const { prompt } = store.get(row);
    for (let k = 1; k < store.count; k++) {
      const other = (row - k + store.count) % store.count;
      const theirs = store.promptLengths[other] === prompt.length ? store.get(other).prompt : undefined;
      if (!theirs || theirs.some((x, i) => x !== prompt[i])) return (before[row] = other);
    }
    throw new InputError('all rows have the same prompt: KTO compares each prompt with another row’s response', '--loss_type apo_zero_unpaired or bco');
  }

  tokens(row: number, side: 0 | 1): number {
    return Math.min(this.store.responseLengths[this.from(row)]![side]!, Math.max(1, this.room - this.store.promptLengths[row]!));
  }

  response(row: number, side: 0 | 1): Uint32Array {
    return this.store.get(this.from(row)).responses[side]!.subarray(0, this.tokens(row, side));
  }
}
