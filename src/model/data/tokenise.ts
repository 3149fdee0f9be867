import { InputError } from '../../errors.js';
import type { ChatTemplate, Message } from '../text/template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Example } from './formats.js';
import { countedTurns, weightedPieces } from './segments.js';
import { TextRefusal } from '../text/refusal.js';

export const TOKENIZATIONS = ['edpo', 'trl-0.13'] as const;
export type Tokenization = (typeof TOKENIZATIONS)[number];

/** Ids of a prompt and of each response, before truncation. */
export interface TokenIds {
  prompt: number[];
  responses: number[][];
  /** A weight for every token of each response, where the method asks for them. */
  weights?: number[][];
}

export interface TokeniseOptions {
  tokenizer: Tokenizer;
  template: ChatTemplate | undefined;
  tokenization: Tokenization;
  /** Weights per token are wanted: those of token ids, or of a dialogue's messages. */
  weighted?: boolean;
}

/**
 * Prompt and responses are tokenised apart, so the shared prompt is shared by construction.
 * `edpo`: BOS exactly once, EOS after a response unless it already ends its turn. `trl-0.13`: what the official ε-DPO code's
 * trainer did (DPOTrainer.tokenize_row): no BOS but the one a template writes, EOS appended whatever the template wrote.
 */
export function tokenise(example: Example, o: TokeniseOptions, where: string): TokenIds {
  if (example.kind === 'ids') return { prompt: example.prompt, responses: [example.chosen, ...(example.rejected ? [example.rejected] : [])], ...(example.weights ? { weights: example.weights } : {}) };
  if (o.weighted && example.kind === 'text') throw new InputError(`${where}: the method wants token weights, and a plain text has none`, 'dialogues with a weight at each message, or prompt_ids, chosen_ids, chosen_weights, rejected_ids, rejected_weights');
  if (o.weighted && example.kind === 'chat') return weightedChat(example, o, where);
  const { prompt, responses } = example.kind === 'text'
    ? { prompt: example.prompt, responses: [example.chosen, ...(example.rejected !== undefined ? [example.rejected] : [])] }
    : renderChat(example, o, where);
  const { tokenizer } = o;
  const ids = tokenizer.encode(prompt);
  const addBos = o.tokenization === 'edpo' && (tokenizer.addBos || ids.length === 0);
  if (addBos && tokenizer.bosId !== undefined && ids[0] !== tokenizer.bosId) ids.unshift(tokenizer.bosId);
  const tokens: TokenIds = {
    prompt: ids,
    responses: responses.map((text) => {
      const response = tokenizer.encode(text);
      // A template may have written BOS before an answer it was given alone.
      if (o.tokenization === 'edpo' && tokenizer.bosId !== undefined && tokenizer.bosId !== tokenizer.eosId) while (response[0] === tokenizer.bosId) response.shift();
      return endTurn(response, text, example.kind === 'chat', o);
    }),
  };
  // A text without a prompt and without BOS: nothing predicts its first token, which so is the prompt.
  const [only] = tokens.responses;
  if (ids.length === 0 && tokens.responses.length === 1 && only!.length > 1) return { prompt: only!.slice(0, 1), responses: [only!.slice(1)] };
  return tokens;
}

/** A dialogue whose turns have weights: each turn is tokenised apart, so that its tokens are its own. */
function weightedChat(example: Example & { kind: 'chat' }, o: TokeniseOptions, where: string): TokenIds {
  const { tokenizer, template } = o;
  if (!template) throw noTemplate(where);
  const sides = [example.chosen, ...(example.rejected ? [example.rejected] : [])];
  if (sides.flat().every((m) => m.weight === undefined)) throw new InputError(`${where}: the method wants token weights, and no message has a "weight"`, '{"role": "assistant", "content": …, "weight": 1} in the segment, 0 outside it');
  const turns = sides.map(countedTurns);
  if (turns.some((n) => n !== turns[0])) throw new TextRefusal(`${where}: segments of ${turns.join(' and ')} turns`, 'segments of different numbers of turns');
  const bos = o.tokenization === 'edpo' ? tokenizer.bosId : undefined;
  const prompt = tokenizer.encode(template.render(example.prompt, true));
  if (bos !== undefined && (tokenizer.addBos || prompt.length === 0) && prompt[0] !== bos) prompt.unshift(bos);
  const weights: number[][] = [];
  const responses = sides.map((reply) => {
    const pieces = weightedPieces(example.prompt, reply, template, where).map(({ text, weight }) => {
      const ids = tokenizer.encode(text);
      if (bos !== undefined && bos !== tokenizer.eosId) while (ids[0] === bos) ids.shift();
      return { ids, text, weight };
    });
    const ids = endTurn(pieces.flatMap((p) => p.ids), pieces.at(-1)!.text, true, o);
    const list = pieces.flatMap((p) => p.ids.map(() => p.weight));
    while (list.length < ids.length) list.push(pieces.at(-1)!.weight);
    weights.push(list);
    return ids;
  });
  return { prompt, responses, weights };
}

const noTemplate = (where: string): InputError => new InputError(`${where}: a dialogue (list of messages), but the tokenizer has no chat_template`, '--chat_template FILE.jinja');

function endTurn(ids: number[], text: string, templated: boolean, { tokenizer, tokenization }: TokeniseOptions): number[] {
  if (tokenizer.eosId === undefined) return ids;
  if (tokenization === 'trl-0.13') return [...ids, tokenizer.eosId];
  // Templates end a turn with EOS or another stop id, some with white space behind it.
  const last = text.trimEnd() === text ? ids.at(-1) : tokenizer.encode(text.trimEnd()).at(-1);
  const ended = last !== undefined && (tokenizer.eosIds.includes(last) || (templated && last !== tokenizer.bosId && tokenizer.specialIds.has(last)));
  return ended ? ids : [...ids, tokenizer.eosId];
}

/** Renders a chat to text: the prompt with its generation prompt, each response as what the template adds for it. */
function renderChat(example: { prompt: Message[]; chosen: Message[]; rejected?: Message[] }, o: TokeniseOptions, where: string): { prompt: string; responses: string[] } {
  const { template } = o;
  if (!template) throw noTemplate(where);
  const prompt = template.render(example.prompt, true);
  const responses = [example.chosen, ...(example.rejected ? [example.rejected] : [])].map((reply) => {
    const whole = template.render([...example.prompt, ...reply], false);
    if (!whole.startsWith(prompt)) {
      throw new InputError(`${where}: the chat template's text with the answer does not begin with its text of the prompt, so the answer cannot be told apart`, 'check the generation prompt of the chat template');
    }
    return whole.slice(prompt.length);
  });
  return { prompt, responses };
}
