import { InputError } from '../../errors.js';
import type { ChatTemplate, Message } from '../text/template.js';

/** A reply's text in pieces, one for each of its messages, with the weight of the tokens of each. */
export interface WeightedPiece {
  text: string;
  weight: number;
}

/** Turns of a reply that count. */
export const countedTurns = (reply: Message[]): number => reply.filter((m) => weightOf(m) > 0).length;

const weightOf = (m: Message): number => (m.role === 'assistant' ? (m.weight ?? 1) : 0);

/**
 * Cuts a reply of several turns where the template's text of one message ends and the next one's begins; what leads to an answer (its generation prompt) belongs to
 * the turn before it. Weights stand at the messages, `{"role": "assistant", "content": …, "weight": 0}`; only an assistant's tokens can count.
 */
export function weightedPieces(prompt: Message[], reply: Message[], template: ChatTemplate, where: string): WeightedPiece[] {
  const odd = reply.find((m) => m.weight !== undefined && !(typeof m.weight === 'number' && Number.isFinite(m.weight) && m.weight >= 0));
  if (odd) throw new InputError(`${where}: weight of a message must be a number from 0 on, got ${JSON.stringify(odd.weight)}`);
  const other = reply.find((m) => m.role !== 'assistant' && (m.weight ?? 0) > 0);
  if (other) throw new InputError(`${where}: a message of role ${other.role} has weight ${other.weight}; only an assistant's tokens are the policy's`, 'leave its weight out, or say 0');
  let before = template.render(prompt, true);
  return reply.map((m, i) => {
    const text = template.render([...prompt, ...reply.slice(0, i + 1)], m.role !== 'assistant' && reply[i + 1]?.role === 'assistant');
    if (!text.startsWith(before)) throw new InputError(`${where}: the chat template's text with message ${i + 1} of the reply does not begin with its text without it, so their tokens cannot be told apart`, 'give token ids with weights (dataset_format tokenized)');
    const piece = { text: text.slice(before.length), weight: weightOf(m) };
    before = text;
    return piece;
  });
}
