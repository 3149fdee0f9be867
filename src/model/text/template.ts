import { existsSync, readFileSync } from 'node:fs';
import { Template } from '@huggingface/jinja';
import { InputError } from '../../errors.js';

export interface Message {
  role: string;
  content: string;
}

/** A chat template, ready to render. */
export interface ChatTemplate {
  text: string;
  render(messages: Message[], addGenerationPrompt: boolean): string;
}

/**
 * Compiles a Jinja chat template with the tokenizer's special tokens as variables.
 * @param choice a file, or the template itself; the tokenizer's own where undefined.
 * @returns undefined where neither gives one.
 */
export function chatTemplate(choice: string | undefined, own: string | undefined, special: Record<string, string>): ChatTemplate | undefined {
  const text = choice === undefined ? own : choice.includes('{') ? choice : readTemplate(choice);
  if (text === undefined) return undefined;
  let compiled: Template;
  try {
    compiled = new Template(text);
  } catch (cause) {
    throw new InputError(`the chat template does not parse: ${(cause as Error).message}`, 'chat_template takes a file or the Jinja text itself');
  }
  return {
    text,
    render: (messages, addGenerationPrompt) => {
      try {
        return compiled.render({ messages, add_generation_prompt: addGenerationPrompt, ...special });
      } catch (cause) {
        throw new InputError(`the chat template refuses this dialogue (roles ${messages.map((m) => m.role).join(', ')}): ${(cause as Error).message}`);
      }
    },
  };
}

function readTemplate(path: string): string {
  if (!existsSync(path)) throw new InputError(`chat_template: ${path} is neither a file nor a Jinja template`, 'give the path of a .jinja file');
  return readFileSync(path, 'utf8');
}
