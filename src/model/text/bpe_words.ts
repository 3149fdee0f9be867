/** The bundled BPE model, as far as it is touched here. */
export interface BpeModel {
  cache?: Map<string, string[]>;
  bpe?: (word: string) => string[];
  merges?: string[][];
  ignore_merges?: boolean;
  end_of_word_suffix?: string;
}

const WORDS = 1 << 16;
const LONGEST = 64;

/** What is known of words already met: long ones hardly come again, and data without end must not fill the memory. */
export class WordCache<T> extends Map<string, T> {
  override set(word: string, value: T): this {
    if (word.length > LONGEST) return this;
    if (this.size >= WORDS) this.clear();
    // V8 cuts a long word out of its text as a view, and a key that is a view would keep the whole text; through bytes it is a copy.
    return super.set(Buffer.from(word, 'utf16le').toString('utf16le'), value);
  }
}

/**
 * Bounds the model's cache of words, and lets SentencePiece-like vocabularies use it: their files have no pre-tokenizer, so a
 * whole text is one word. Where no merge joins a mark "▁" to something before it other than a mark, tokens never cross such a
 * place and the text may be cut there first, with the same result.
 */
export function boundWords(model: BpeModel): void {
  if (!model.cache || !model.bpe || !model.merges) return;
  model.cache = new WordCache<string[]>();
  const crosses = model.merges.some(([left, right]) => /[^▁]▁/u.test(`${left}${right}`));
  if (crosses || model.ignore_merges || model.end_of_word_suffix) return;
  const bpe = model.bpe.bind(model);
  model.bpe = (text) => {
    if (!text.includes('▁', 1)) return bpe(text);
    const tokens: string[] = [];
    let from = 0;
    for (let at = text.indexOf('▁', 1); at >= 0; at = text.indexOf('▁', at + 1)) {
      if (text[at - 1] === '▁') continue;
      for (const token of bpe(text.slice(from, at))) tokens.push(token);
      from = at;
    }
    for (const token of bpe(text.slice(from))) tokens.push(token);
    return tokens;
  };
}
