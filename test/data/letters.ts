import type { Tokenizer } from '../../src/model/text/tokenizer.js';

/** One id per character code, BOS 1, EOS 2 (also written `</s>`), a further special token 3: ids can be read off. */
export const letters = (over: Partial<Tokenizer> = {}): Tokenizer => ({
  encode: (text) => Array.from(text.replaceAll('</s>', '\u0002'), (c) => c.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...Array.from(ids)),
  bosId: 1, eosId: 2, eosIds: [2], vocabSize: 256, addBos: true, chatTemplate: undefined, special: {}, specialIds: new Set([1, 2, 3]), hash: 'letters', ...over,
});
