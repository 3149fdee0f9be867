import type { ChatTemplate } from './template.js';
import type { Tokenizer } from './tokenizer.js';

/**
 * Ids that end an answer: EOS, those that generation_config.json and config.json name, and the special token the chat template writes behind an
 * assistant's turn (Gemma's <end_of_turn>, which its configuration does not always name).
 */
export function stopIds(tokenizer: Tokenizer, template: ChatTemplate | undefined): Set<number> {
  const ids = new Set(tokenizer.eosIds);
  const end = template && turnEnd(tokenizer, template);
  if (end !== undefined) ids.add(end);
  return ids;
}

function turnEnd(tokenizer: Tokenizer, template: ChatTemplate): number | undefined {
  const user = [{ role: 'user', content: 'a' }];
  let last: number | undefined;
  try {
    last = tokenizer.encode(template.render([...user, { role: 'assistant', content: 'b' }], false).trimEnd()).at(-1);
  } catch {
    // A template that refuses even this dialogue, or letters the tokenizer lacks, say nothing of an end.
    return undefined;
  }
  return last !== undefined && last !== tokenizer.bosId && tokenizer.specialIds.has(last) ? last : undefined;
}
