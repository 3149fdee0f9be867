import type { AddedToken } from './tokenizer_json.js';

/** The bundled tokenizer, as far as it is touched here. */
export interface EncodingParts {
  normalizer: ((text: string) => string) | null;
  pre_tokenizer: ((text: string, options: { section_index: number }) => string[]) | null;
  model: ((words: string[]) => string[]) & { vocab: string[] };
  /** null is the second text of a pair that is none. */
  _encode_text?: (text: string | null) => string[] | null;
}

/**
 * Added tokens marked `normalized` are looked for in the normalised text, in their own normalised form: with a normaliser that
 * puts "▁" in front and for spaces, "<tool>" is found as "▁<tool>", space and all. The bundled tokenizer looks for every
 * token in the raw text; where that differs, its splitting is replaced.
 */
export function findNormalizedTokens(inner: EncodingParts, tokens: AddedToken[]): void {
  const { normalizer } = inner;
  if (!normalizer) return;
  const late = tokens.filter((t) => t.normalized).map((t) => ({ ...t, found: normalizer(t.content) }));
  if (late.every((t) => t.found === t.content)) return;
  // Ids of non-special ones go back to the form that was found.
  for (const t of late) if (!t.special) inner.model.vocab[t.id] = t.found;
  const early = splitter(tokens.filter((t) => !t.normalized).map((t) => ({ ...t, found: t.content })));
  const behind = splitter(late.sort((a, b) => b.found.length - a.found.length));
  inner._encode_text = (text) => {
    if (text === null) return null;
    let section = 0;
    return early(text).flatMap((piece) => {
      if (piece.token !== undefined) return section++, [piece.token];
      return behind(normalizer(piece.text)).flatMap(({ token, text: rest }) => {
        const section_index = section++;
        return token !== undefined ? [token] : inner.model(inner.pre_tokenizer ? inner.pre_tokenizer(rest, { section_index }) : [rest]);
      });
    });
  };
}

type Piece = { token: string; text?: undefined } | { token?: undefined; text: string };

/** Cuts a text at tokens (the longest first in the list), with the white space they take along. */
function splitter(tokens: Array<AddedToken & { found: string }>): (text: string) => Piece[] {
  if (tokens.length === 0) return (text) => [{ text }];
  const escape = (s: string): string => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const pattern = new RegExp(tokens.map((t) => `${t.lstrip ? '\\s*' : ''}(${escape(t.found)})${t.rstrip ? '\\s*' : ''}`).join('|'));
  const contents = new Map(tokens.map((t) => [t.found, t.content]));
  return (text) => text.split(pattern).filter((part) => part !== undefined && part !== '').map((part) => {
    const token = contents.get(part);
    return token === undefined ? { text: part } : { token };
  });
}
