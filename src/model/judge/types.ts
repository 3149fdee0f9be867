import type { Message } from '../text/template.js';
import type { Queue } from './queue.js';

/** One comparison for a judge: the prompt as text, and two answers. */
export interface Question {
  id: string;
  prompt: string;
  /** The prompt's dialogue where the data have one; it ends with the user. */
  turns?: Message[];
  a: string;
  b: string;
}
export type Verdict = 'a' | 'b' | 'tie' | 'invalid';

/** How a judge's matrices are kept on the GPU. */
export const JUDGE_DTYPES = ['float32', 'float16'] as const;
export type JudgeDtype = (typeof JUDGE_DTYPES)[number];

/** Takes a verdict as it comes; `detail` (scores, a judge's words) is kept beside it. */
export type OnVerdict = (id: string, verdict: Verdict, detail?: Record<string, unknown>) => void;

/** Who compares. Verdicts come in any order; a missing or unreadable one is "invalid", never guessed. */
export interface Judge {
  /** Everything a verdict depends on besides the question: the first line of annotations.ndjson. */
  identity: Record<string, unknown>;
  /** Questions arrive while answers are still being sampled; resolves when the queue has ended and all is answered. */
  ask(questions: Queue<Question>, each: OnVerdict): Promise<void>;
}
