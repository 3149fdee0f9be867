import { hhDialogue, hhSingleTurn, hhSplit } from '../data/hh.js';

/** A prompt of the papers' Anthropic-HH evaluation. */
export interface SingleTurnPrompt {
  /** Row number in the file, from 0. */
  index: number;
  /** The user's message alone, trimmed: what a judge is asked. */
  prompt: string;
  /** The dialogue up to and including its "\n\nAssistant:". */
  dialogue: string;
  /** The chosen answer, trimmed: the baseline. Some are empty. */
  chosen: string;
  /** The rejected side begins with another dialogue (the trainer drops such pairs; here only the chosen side counts). */
  prompts_differ: boolean;
}

/**
 * The single-turn prompts of Anthropic-HH by rule (Rafailov et al., 2023; ε-DPO, B.2): rows whose chosen dialogue has exactly one human turn,
 * duplicates and all. 700 rows of helpful-base test, 662 of harmless-base.
 */
export function singleTurnPrompts(pairs: Iterable<{ chosen: string; rejected?: string }>): SingleTurnPrompt[] {
  const prompts: SingleTurnPrompt[] = [];
  let index = -1;
  for (const { chosen, rejected } of pairs) {
    index++;
    const split = hhSplit(chosen);
    if (!split || !hhSingleTurn(chosen)) continue;
    const user = hhDialogue(split.prompt).find((m) => m.role === 'user');
    if (!user) continue;
    prompts.push({
      index,
      prompt: user.content,
      dialogue: split.prompt,
      chosen: split.reply.trim(),
      prompts_differ: rejected !== undefined && hhSplit(rejected)?.prompt !== split.prompt,
    });
  }
  return prompts;
}
