import type { Message } from '../../text/template.js';
import type { EndpointQuestion } from '../openai/prompts.js';
import type { Question } from '../types.js';

/** A comparison as PairRM is asked it. */
export interface Comparison {
  source: string;
  a: string;
  b: string;
}

interface Turn {
  user: string;
  a: string;
  b: string;
}

// Word for word (misspelling included) what PairRM was trained with, without anything between it and the first turn.
const INSTRUCTION = 'Finish the following coversation in each i-th turn by filling in <Response i> with your response.';

/**
 * One turn: the user's message as it is. Several: llm-blender's compare_conversations, the source listing the user's turns with numbered places and
 * each candidate the assistant's turns by number. A system message stands before the first user's, on a line of its own.
 * @returns undefined for a dialogue that is not user and assistant by turns, ending with the user
 */
export function comparison(q: Question): Comparison | undefined {
  const turns = q.turns ? dialogue(q.turns, q) : [...((q as EndpointQuestion).earlier ?? []).map((t) => ({ user: t.prompt, a: t.a, b: t.b })), { user: q.prompt, a: q.a, b: q.b }];
  if (!turns) return undefined;
  if (turns.length === 1) return { source: turns[0]!.user, a: q.a, b: q.b };
  const side = (name: 'a' | 'b'): string => turns.map((t, i) => `<Response ${i + 1}>: ${t[name]}`).join('\n');
  return { source: INSTRUCTION + turns.map((t, i) => `USER: ${t.user}\nAssistant: <Response ${i + 1}>`).join('\n'), a: side('a'), b: side('b') };
}

function dialogue(messages: Message[], { a, b }: Question): Turn[] | undefined {
  const system = messages[0]?.role === 'system' ? `${messages[0].content}\n` : '';
  const rest = system ? messages.slice(1) : messages;
  if (rest.length % 2 !== 1 || rest.some((m, i) => m.role !== (i % 2 ? 'assistant' : 'user'))) return undefined;
  return Array.from({ length: (rest.length + 1) / 2 }, (_, i) => {
    const said = rest[2 * i + 1]?.content;
    return { user: (i === 0 ? system : '') + rest[2 * i]!.content, a: said ?? a, b: said ?? b };
  });
}
