import { TextRefusal } from '../text/refusal.js';
import type { Example } from './formats.js';
import { tokenise, type TokenIds, type TokeniseOptions } from './tokenise.js';

const IDENTICAL = 'chosen and rejected are identical';

/** Ids of an example, or why this row has none that can be used. */
export function idsOf(example: Example, o: TokeniseOptions, where: string): TokenIds | { refused: string } {
  let tokens: TokenIds;
  try {
    tokens = tokenise(example, o, where);
  } catch (cause) {
    if (cause instanceof TextRefusal) return { refused: cause.reason };
    throw cause;
  }
  if (tokens.responses.some((r) => r.length === 0)) return { refused: 'empty response' };
  if (tokens.prompt.length === 0) return { refused: 'empty prompt (and the tokenizer has no BOS to stand for it)' };
  return same(tokens) ? { refused: IDENTICAL } : tokens;
}

/** Both responses are the same ids: nothing to prefer. */
export const same = ({ responses: [a, b] }: TokenIds): boolean => b !== undefined && a!.length === b.length && a!.every((token, i) => token === b[i]);

/** What makes an example useless before it is tokenised. */
export function unusable(e: Example): string | undefined {
  const text = (side: Example['chosen'] | undefined): string =>
    side === undefined ? '' : typeof side === 'string' ? side.trim() : side.map((x) => (typeof x === 'number' ? `${x} ` : x.content)).join('').trim();
  const rejected = text(e.rejected);
  if (text(e.chosen) === '' || (e.rejected !== undefined && rejected === '')) return 'empty response';
  if (e.rejected !== undefined && text(e.chosen) === rejected) return IDENTICAL;
  const texts = [e.prompt, e.chosen, e.rejected ?? ''].flatMap((side) => (typeof side === 'string' ? [side] : side.map((x) => (typeof x === 'number' ? '' : x.content))));
  // JSON can hold half of a surrogate pair, which UTF-8 and so a tokenizer cannot.
  if (texts.some((s) => /\p{Surrogate}/u.test(s))) return 'half a surrogate pair in the text';
  return undefined;
}
