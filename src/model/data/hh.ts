import type { Message } from '../text/template.js';

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
