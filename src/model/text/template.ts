import { existsSync, readFileSync } from 'node:fs';
import { Template } from '@huggingface/jinja';
import { InputError } from '../../errors.js';
import { TextRefusal } from './refusal.js';

export interface Message {
  role: string;
  content: string;
  /** Of a message's tokens (methods with token weights); 1 for an assistant's, 0 for others where absent. */
  weight?: number;
}

/** The day templates are told it is: today's would give other ids tomorrow, to a resumed run and to a reference cache. */
const DAY = new Date(Date.UTC(2024, 6, 26));
const english = (o: Intl.DateTimeFormatOptions): string => new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', ...o }).format(DAY);
const strftime: Record<string, () => string> = {
  d: () => english({ day: '2-digit' }), m: () => english({ month: '2-digit' }), Y: () => english({ year: 'numeric' }), y: () => english({ year: '2-digit' }),
  b: () => english({ month: 'short' }), B: () => english({ month: 'long' }), a: () => english({ weekday: 'short' }), A: () => english({ weekday: 'long' }),
  H: () => '00', I: () => '12', M: () => '00', S: () => '00', p: () => 'AM', j: () => '208', '%': () => '%',
};
/** `strftime_now` of chat templates, for a fixed day. */
const strftimeNow = (format: string): string => format.replace(/%(.)/g, (whole, letter: string) => strftime[letter]?.() ?? whole);

/** A chat template, ready to render. */
export interface ChatTemplate {
  text: string;
  render(messages: Message[], addGenerationPrompt: boolean): string;
}

/**
 * Compiles a Jinja chat template with the tokenizer's special tokens as variables, and `tools` and `documents` null, as
 * transformers does. The date it sees is always 26 July 2024.
 * @param choice a file, or the template itself; the tokenizer's own where undefined.
 * @param mergeSystem a leading system message enters as the beginning of the first user message, for templates without that role.
 * @returns undefined where neither gives one.
 */
export function chatTemplate(choice: string | undefined, own: string | undefined, special: Record<string, string>, mergeSystem = false): ChatTemplate | undefined {
  const text = choice === undefined ? own : choice.includes('{') ? choice : readTemplate(choice);
  if (text === undefined) return undefined;
  let compiled: Template;
  try {
    compiled = new Template(withFixedDay(text));
  } catch (cause) {
    throw new InputError(`the chat template does not parse: ${(cause as Error).message}`, 'chat_template takes a file or the Jinja text itself');
  }
  return {
    // What is hashed: other texts for the same rows are another template.
    text: mergeSystem ? `${text}{# system_messages: merge #}` : text,
    render: (given, addGenerationPrompt) => {
      const messages = mergeSystem ? withSystemMerged(given) : given;
      try {
        return compiled.render({ messages, add_generation_prompt: addGenerationPrompt, tools: null, documents: null, edpo_strftime: strftimeNow, ...special });
      } catch (cause) {
        const why = (cause as Error).message;
        throw new TextRefusal(
          `the chat template refuses this dialogue (roles ${messages.map((m) => m.role).join(', ')}): ${why}`, `the chat template refuses the dialogue: ${why}`,
          messages[0]?.role === 'system' && !mergeSystem ? '--system_messages merge puts them before the first user message; or another --chat_template; or --bad_rows drop to leave such rows out' : 'another --chat_template, or --bad_rows drop to leave such rows out', cause,
        );
      }
    },
  };
}

/** [system s, user u, …] → [user "s\n\nu", …]; any other dialogue as it is. */
function withSystemMerged(messages: Message[]): Message[] {
  const [system, user, ...rest] = messages;
  return system?.role === 'system' && user?.role === 'user' ? [{ ...user, content: `${system.content}\n\n${user.content}` }, ...rest] : messages;
}

/** The renderer has a `strftime_now` of its own, which can be set but not passed in. A block eats the line end behind it. */
const withFixedDay = (text: string): string => (text.includes('strftime_now') ? `{% set strftime_now = edpo_strftime %}${text.startsWith('\n') ? '\n' : ''}${text}` : text);

function readTemplate(path: string): string {
  if (!existsSync(path)) throw new InputError(`chat_template: ${path} is neither a file nor a Jinja template`, 'give the path of a .jinja file');
  return readFileSync(path, 'utf8');
}
