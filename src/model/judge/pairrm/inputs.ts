import { InputError } from '../../../errors.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import type { PairRmLimits } from './folder.js';

/** Prefixes by their names; their ids are looked up in the tokenizer. */
const PREFIX = { source: '<|source|>', first: '<|candidate1|>', second: '<|candidate2|>' };

/** One order of one comparison as PairRM reads it. */
export interface PairInput {
  ids: number[];
  /** Positions of the three prefixes. */
  source: number;
  first: number;
  second: number;
  /** Something was cut at its end. */
  truncated: boolean;
}

/**
 * Encodes comparisons as llm-blender's tokenize_pair does: three pieces, each `[CLS] prefix text [SEP]` and cut at its right end, one after the other.
 * The candidates share what the source leaves of the whole length, example by example.
 */
export class PairInputs {
  private readonly cls: number;
  private readonly sep: number;
  private readonly sepText: string;
  private readonly prefixes: Record<keyof typeof PREFIX, number>;

  /** Throws InputErrors where the tokenizer lacks one of the tokens, or has ids beyond the model's `vocabulary`. */
  constructor(private readonly tokenizer: Tokenizer, private readonly limits: PairRmLimits, vocabulary: number, where: string) {
    const id = (text: string): number => {
      const ids = tokenizer.encode(text);
      if (ids.length !== 1) throw new InputError(`${where}: the tokenizer has no token ${text}`, 'take the tokenizer files of llm-blender/PairRM-hf: tokenizer.json or added_tokens.json names it');
      if (ids[0]! >= vocabulary) throw new InputError(`${where}: the tokenizer gives ${text} the id ${ids[0]}, the model has ${vocabulary} embeddings`, 'tokenizer and weights are not of one model');
      return ids[0]!;
    };
    this.sepText = tokenizer.special['sep_token'] ?? '[SEP]';
    this.cls = id(tokenizer.special['cls_token'] ?? '[CLS]');
    this.sep = id(this.sepText);
    this.prefixes = { source: id(PREFIX.source), first: id(PREFIX.first), second: id(PREFIX.second) };
    if (tokenizer.vocabSize > vocabulary) throw new InputError(`${where}: the tokenizer has ${tokenizer.vocabSize} ids, the model ${vocabulary} embeddings`, 'tokenizer and weights are not of one model');
  }

  /** Tokens of a comparison at most. */
  get longest(): number {
    return this.limits.source + 2 * this.limits.candidate;
  }

  pair(source: string, first: string, second: string): PairInput {
    const head = this.piece('source', source, this.limits.source);
    const room = Math.floor((this.longest - head.ids.length) / 2);
    const [one, two] = [this.piece('first', first, room), this.piece('second', second, room)];
    return {
      ids: [...head.ids, ...one.ids, ...two.ids],
      source: 1, first: head.ids.length + 1, second: head.ids.length + one.ids.length + 1,
      truncated: head.truncated || one.truncated || two.truncated,
    };
  }

  private piece(name: keyof typeof PREFIX, text: string, length: number): { ids: number[]; truncated: boolean } {
    // A [SEP] in a text would end the piece.
    const ids = this.tokenizer.encode(PREFIX[name] + text.replaceAll(this.sepText, ' '));
    if (ids[0] !== this.prefixes[name]) throw new InputError(`the tokenizer does not begin ${JSON.stringify(PREFIX[name])} before a text with its own token`, 'take the tokenizer files of llm-blender/PairRM-hf');
    return { ids: [this.cls, ...ids.slice(0, length - 2), this.sep], truncated: ids.length > length - 2 };
  }
}
