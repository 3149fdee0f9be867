import { z } from 'zod';
import { JUDGE_PROTOCOLS } from '../../model/judge/openai/protocols.js';
import { JUDGE_DTYPES } from '../../model/judge/types.js';
import { count, keysOf, text, type Command } from './define.js';

const SAMPLING: Command[] = ['generate', 'eval-winrate'];

const key = keysOf('generation');

/** Keys of sampling answers and of judging them. */
export const generationKeys = {
  prompt: key('prompt', ['generate'], z.string().optional(), 'a prompt; rendered with the chat template if there is one'),
  prompts_file: key('prompts_file', ['generate'], text.optional(), 'data file whose rows give prompts'),
  outputs: key('outputs', ['eval-winrate'], text.optional(), 'answers already made instead of sampling: AlpacaEval, Arena-Hard, MT-Bench, or NDJSON with prompt and output'),
  baseline: key('baseline', ['eval-winrate'], text.default('chosen'), 'chosen: the data’s answers; or the folder of a model, or a file of answers'),
  judge: key('judge', ['eval-winrate'], text.optional(), 'command:PROGRAM reads {id, prompt, a, b} lines and answers {id, winner: "a"|"b"|"tie"} lines; reward:FOLDER is a reward model; pairrm:FOLDER is PairRM; openai:MODEL asks an OpenAI-compatible endpoint (OPENAI_BASE_URL, OPENAI_API_KEY); none: answers, lengths and KL alone'),
  judge_protocol: key('judge_protocol', ['eval-winrate'], z.enum(JUDGE_PROTOCOLS).optional(), 'judge openai: how it is asked and how its reply is read; by the format of outputs where absent, else alpaca-eval'),
  judge_template: key('judge_template', ['eval-winrate'], text.optional(), 'judge openai: a file with your own prompt instead of the built-in one'),
  judge_dtype: key('judge_dtype', ['eval-winrate'], z.enum(JUDGE_DTYPES).default('float32'), 'judge pairrm: how its matrices are kept on the GPU; float16 (as PairRM’s own code) takes half the memory; the arithmetic is float32'),
  judge_order: key('judge_order', ['eval-winrate'], z.enum(['both', 'hashed']).default('both'), 'both: each comparison twice, places changed; hashed: once, as AlpacaEval places them (judge openai)'),
  questions: key('questions', ['eval-winrate'], text.optional(), 'a benchmark’s question file (question.jsonl of Arena-Hard or MT-Bench): what the answers answer, with categories and reference answers'),
  judgments: key('judgments', ['eval-winrate'], text.optional(), 'judgments already made (AlpacaEval annotations, Arena-Hard or MT-Bench judgments): only their numbers'),
  lc_difficulties: key('lc_difficulties', ['eval-winrate'], text.optional(), 'AlpacaEval’s instruction_difficulty.csv: length control with difficulties'),
  lc_gamed: key('lc_gamed', ['eval-winrate'], text.optional(), 'AlpacaEval’s df_gamed.csv: length control in its published form'),
  lc_weights: key('lc_weights', ['eval-winrate'], text.optional(), 'AlpacaEval’s baseline_*.csv: length control from published weights'),
  estimate: key('estimate', ['eval-winrate'], z.boolean().default(false), 'judge openai: sample, then only say how many calls and tokens judging would take; nothing is sent'),
  judge_concurrency: key('judge_concurrency', ['eval-winrate'], z.int().positive().default(8), 'judge openai: requests under way at once'),
  single_turn: key('single_turn', ['eval-winrate'], z.boolean().default(false), 'the prompts of the papers’ Anthropic-HH evaluation: every row with one human turn'),
  n_prompts: key('n_prompts', SAMPLING, count.default(0), 'use the first prompts only; 0: all'),
  max_new_tokens: key('max_new_tokens', SAMPLING, z.int().positive().default(1024), 'tokens at most'),
  temperature: key('temperature', SAMPLING, z.number().min(0).default(1), '0: greedy'),
  category_temperatures: key('category_temperatures', ['eval-winrate'], z.boolean().default(false), 'MT-Bench: each question at its category’s temperature (FastChat’s: writing and roleplay 0.7, stem and humanities 0.1, the others 0) instead of temperature'),
  realign: key('realign', ['generate', 'eval', 'eval-winrate'], z.number().min(0).optional(), 'λ: runs the policy with logits λ f + (1 − λ) r, policy and reference together; previews training at β/λ'),
  top_p: key('top_p', SAMPLING, z.number().gt(0).max(1).default(1), 'smallest set of tokens with this probability'),
  top_k: key('top_k', SAMPLING, count.default(0), 'most likely tokens only; 0: all'),
  batch_size: key('batch_size', SAMPLING, z.int().positive().default(16), 'answers made at a time; never changes them'),
} as const;
