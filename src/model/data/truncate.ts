import type { TokenIds } from './tokenise.js';

export const TRUNCATION_MODES = ['drop', 'keep_start', 'error'] as const;
export type TruncationMode = (typeof TRUNCATION_MODES)[number];

export interface TruncationOptions {
  /** Tokens of prompt + one response; 0 = no limit. */
  maxLength: number;
  /** Tokens of the prompt, of which the END is kept (its BOS too); 0 = no limit. */
  maxPromptLength: number;
  mode: TruncationMode;
  bosId: number | undefined;
}

export type Truncated = { ids: TokenIds; promptCut: boolean; responseCut: boolean } | { tooLong: string };

/**
 * Cuts a prompt to its last tokens, then treats prompt + response over `maxLength` by mode. A response is never cut to nothing:
 * a prompt that leaves no room makes the row too long.
 */
export function truncate({ prompt, responses }: TokenIds, o: TruncationOptions): Truncated {
  let head = prompt;
  const promptCut = o.maxPromptLength > 0 && prompt.length > o.maxPromptLength;
  if (promptCut) {
    const bos = o.bosId !== undefined && prompt[0] === o.bosId && o.maxPromptLength > 1;
    head = bos ? [prompt[0]!, ...prompt.slice(prompt.length - o.maxPromptLength + 1)] : prompt.slice(prompt.length - o.maxPromptLength);
  }
  const longest = Math.max(...responses.map((r) => r.length));
  if (o.maxLength === 0 || head.length + longest <= o.maxLength) return { ids: { prompt: head, responses }, promptCut, responseCut: false };
  if (o.mode !== 'keep_start') return { tooLong: `${head.length} + ${longest} tokens, over max_length ${o.maxLength}` };
  const room = o.maxLength - head.length;
  if (room < 1) return { tooLong: `the prompt alone has ${head.length} tokens, max_length is ${o.maxLength}` };
  return { ids: { prompt: head, responses: responses.map((r) => r.slice(0, room)) }, promptCut, responseCut: true };
}
