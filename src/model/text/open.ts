import { chatTemplate, type ChatTemplate } from './template.js';
import { loadTokenizer, type Tokenizer } from './tokenizer.js';

/** Where a run's tokenizer and chat template come from: plain values, so that another thread can open the same. */
export interface TextFiles {
  /** Folder with the tokenizer's files. */
  tokenizer: string;
  /** Folder of the model, which knows end tokens, too. */
  model: string;
  /** Jinja file or text in place of the tokenizer's own template. */
  template: string | undefined;
  /** A system message enters the first user message. */
  mergeSystem: boolean;
}

/** Loads the tokenizer, and the template where there is one. @throws InputError for files that are missing or cannot be read (`loadTokenizer`, `chatTemplate`) */
export async function openText(from: TextFiles): Promise<{ tokenizer: Tokenizer; template: ChatTemplate | undefined }> {
  const tokenizer = await loadTokenizer(from.tokenizer, from.model);
  return { tokenizer, template: chatTemplate(from.template, tokenizer.chatTemplate, tokenizer.special, from.mergeSystem) };
}
