import { InputError } from '../../errors.js';
import type { ChatTemplate, Message } from '../text/template.js';
import { need, PROMPTS_DIFFER, shape } from './columns.js';
import type { Example, Refusal } from './formats.js';
import type { Row } from './rows.js';

const HUMAN = '\n\nHuman:';
const ASSISTANT = '\n\nAssistant:';

/** Splits an Anthropic-HH dialogue at its LAST assistant turn: everything up to and including the header is the prompt. */
export function hhSplit(text: string): { prompt: string; reply: string } | undefined {
  const at = text.lastIndexOf(ASSISTANT);
  if (at < 0) return undefined;
  const cut = at + ASSISTANT.length;
  return { prompt: text.slice(0, cut), reply: text.slice(cut) };
}

/** The turns of a prompt (which ends with an assistant header) as messages, headers stripped. */
export function hhDialogue(prompt: string): Message[] {
  const messages: Message[] = [];
  const pattern = /\n\n(Human|Assistant):/g;
  const heads = [...prompt.matchAll(pattern)];
  heads.forEach((head, i) => {
    const begin = head.index + head[0].length;
    const content = prompt.slice(begin, heads[i + 1]?.index ?? prompt.length).trim();
    // The header at the end opens the reply; it is no message.
    if (i === heads.length - 1) return;
    messages.push({ role: head[1] === 'Human' ? 'user' : 'assistant', content });
  });
  return messages;
}

/** Exactly one human turn (the paper's evaluation takes only these). */
export const hhSingleTurn = (text: string): boolean => text.split(HUMAN).length === 2;

/** chosen and rejected as dialogues; messages where the model has a chat template. */
export function hh(row: Row, sides: 1 | 2, template: ChatTemplate | undefined): Example | Refusal {
  need(row, ['chosen', ...(sides === 2 ? ['rejected'] : [])]);
  const texts = [row.value['chosen'], ...(sides === 2 ? [row.value['rejected']] : [])];
  if (!texts.every((v) => typeof v === 'string')) throw new InputError(`${row.where}: chosen and rejected must be texts, got ${texts.map(shape).join(' and ')}`, '--dataset_format hf for message lists');
  const [chosen, rejected] = texts.map((v) => hhSplit(v as string));
  if (!chosen || (sides === 2 && !rejected)) throw new InputError(`${row.where}: no "\\n\\nAssistant:" turn; is this Anthropic-HH text?`, '--dataset_format hf for other data');
  if (rejected && chosen.prompt !== rejected.prompt) return { refused: PROMPTS_DIFFER };
  if (!template) return { kind: 'text', prompt: chosen.prompt, chosen: chosen.reply, ...(rejected ? { rejected: rejected.reply } : {}) };
  const reply = (text: string): Message[] => [{ role: 'assistant', content: text.trim() }];
  if (!/^\s*(Human|Assistant):/.test(chosen.prompt)) return { refused: 'text before the first turn' };
  return { kind: 'chat', prompt: hhDialogue(chosen.prompt), chosen: reply(chosen.reply), ...(rejected ? { rejected: reply(rejected.reply) } : {}) };
}
