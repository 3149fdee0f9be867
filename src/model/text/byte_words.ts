import { WordCache } from './bpe_words.js';

/** The bundled byte-level pre-tokenizer, or a sequence that may hold one, as far as they are touched here. */
export interface PreTokenizerPart {
  tokenizers?: PreTokenizerPart[];
  byte_encoder?: Record<number, string>;
  text_encoder?: { encode(text: string): Uint8Array };
  add_prefix_space?: boolean;
  use_regex?: boolean;
  pattern?: RegExp;
  pre_tokenize_text?: (text: string) => string[];
}

/**
 * Byte-level pre-tokenizers write every byte of a word as a character. The bundled one does so anew wherever a word comes, which takes a third of
 * all the time of an encoding; here a word's spelling is kept.
 */
export function rememberSpellings(part: PreTokenizerPart | null): void {
  for (const inner of part?.tokenizers ?? []) rememberSpellings(inner);
  const { byte_encoder: characters, text_encoder: utf8, pattern, use_regex, add_prefix_space } = part ?? {};
  if (!part || !characters || !utf8 || !pattern) return;
  const known = new WordCache<string>();
  const spelling = (word: string): string => {
    let spelt = known.get(word);
    if (spelt === undefined) known.set(word, (spelt = Array.from(utf8.encode(word), (byte) => characters[byte]).join('')));
    return spelt;
  };
  part.pre_tokenize_text = (text) => {
    const whole = add_prefix_space && !text.startsWith(' ') ? ` ${text}` : text;
    return (use_regex ? (whole.match(pattern) ?? []) : [whole]).map(spelling);
  };
}
