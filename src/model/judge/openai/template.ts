import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { parse as parseYaml } from 'yaml';
import { InputError } from '../../../errors.js';
import type { Message, Prompt, Turn } from './prompts.js';

export type Kind = 'pair' | 'single';

/** A user's own prompt; `hash` says which (SHA-256 of what is used of the file). */
export interface Template {
  prompt: Prompt;
  hash: string;
}

const ANSWER = { pair: [/^(answer_a|output_1|ANSWER_A|answer_1)/, /^(answer_b|output_2|ANSWER_B|answer_2)/], single: [/^answer/] };
const PLACEHOLDER = /\{([A-Za-z_]\w*)\}/g;

/** What the placeholders of AlpacaEval, Arena-Hard (both versions) and FastChat stand for. */
function values(turns: Turn[], kind: Kind): Map<string, string> {
  const found = new Map<string, string>();
  const put = (names: string[], value: string): void => names.forEach((n) => found.set(n, value));
  turns.forEach((turn, i) => {
    put([`question_${i + 1}`], turn.prompt);
    if (kind === 'pair') put([`answer_a_${i + 1}`], turn.a), put([`answer_b_${i + 1}`], turn.b);
    else put([`answer_${i + 1}`], turn.a);
    if (turn.reference !== undefined) put([`ref_answer_${i + 1}`, ...(turns.length === 1 ? ['REFERENCE'] : [])], turn.reference);
  });
  const [only] = turns;
  if (turns.length !== 1 || !only) return found;
  put(['question', 'instruction', 'prompt', 'QUESTION'], only.prompt);
  if (kind === 'single') put(['answer'], only.a);
  else put(['answer_a', 'output_1', 'ANSWER_A', 'answer_1'], only.a), put(['answer_b', 'output_2', 'ANSWER_B', 'answer_2'], only.b);
  return found;
}

const isText = (v: unknown): v is string => typeof v === 'string' && v !== '';

/** Parts as {role, content} with placeholders: ChatML blocks of a text file, else one message of the user. */
function chatMl(text: string): Message[] {
  const blocks = [...text.matchAll(/<\|im_start\|>(system|user|assistant)\n([\s\S]*?)<\|im_end\|>/g)];
  // AlpacaEval's own reader strips the blocks the same way.
  return blocks.length > 0 ? blocks.map((m) => ({ role: m[1] as Message['role'], content: m[2]!.trim() })) : [{ role: 'user', content: text.trim() }];
}

function parts(path: string, system: unknown, user: unknown): Message[] {
  const text = Array.isArray(user) && user.length === 1 ? (user[0] as unknown) : user;
  if (!isText(text)) throw new InputError(`${path}: prompt_template must be a text (or a list of one), got ${JSON.stringify(user)?.slice(0, 60) ?? 'nothing'}`);
  return [...(isText(system) ? [{ role: 'system' as const, content: system }] : []), { role: 'user', content: text }];
}

type Named = Map<string, Message[]>;

function readFile(path: string): Named {
  if (!existsSync(path)) throw new InputError(`judge template ${path}: no such file`);
  const text = readFileSync(path, 'utf8');
  if (/\.jsonl?$/.test(path)) {
    let rows: Array<Record<string, unknown>>;
    try {
      rows = path.endsWith('l') ? text.split('\n').filter((l) => l.trim()).map((l) => JSON.parse(l) as Record<string, unknown>) : [JSON.parse(text) as Record<string, unknown>].flat();
    } catch (cause) {
      throw new InputError(`judge template ${path} is not JSON: ${(cause as Error).message}`);
    }
    return new Map(rows.map((r, i) => [String(r['name'] ?? i), parts(path, r['system_prompt'], r['prompt_template'])]));
  }
  if (/\.ya?ml$/.test(path)) {
    let row: Record<string, unknown>;
    try {
      row = parseYaml(text) as Record<string, unknown>;
    } catch (cause) {
      throw new InputError(`judge template ${path} is not YAML: ${(cause as Error).message.split('\n')[0]}`);
    }
    return new Map([['', parts(path, row?.['system_prompt'], row?.['prompt_template'])]]);
  }
  return new Map([['', chatMl(text)]]);
}

/** FastChat's name for a conversation: judge_prompts.jsonl holds one prompt for each kind. */
const fastChatName = (turns: Turn[], kind: Kind): string => `${kind}${turns.some((t) => t.reference !== undefined) ? '-math-v1' : kind === 'pair' ? '-v2' : '-v1'}${turns.length > 1 ? '-multi-turn' : ''}`;

/**
 * Reads a user's prompt: a text (ChatML blocks or one user message: AlpacaEval), YAML with system_prompt and prompt_template (Arena-Hard), or
 * JSON lines of {name, system_prompt, prompt_template} (FastChat's judge_prompts.jsonl; FILE#NAME takes one, else the name follows the question).
 * Placeholders are filled in one pass, so a brace in an answer stays one.
 * @throws InputError no such file, another form, a placeholder that is unknown or missing
 */
export function readTemplate(given: string, kind: Kind): Template {
  const [, path, name] = /^(.*?)(?:#([^#/]+))?$/s.exec(given) as unknown as [string, string, string | undefined];
  const named = readFile(path);
  const choose = (turns: Turn[]): [string, Message[]] => {
    const want = name ?? (named.size === 1 ? [...named.keys()][0]! : fastChatName(turns, kind));
    const message = named.get(want);
    if (!message) throw new InputError(`judge template ${path} has no prompt named ${want}; it has ${[...named.keys()].join(', ')}`, `${path}#NAME`);
    return [want, message];
  };
  const check = ([which, message]: [string, Message[]]): void => {
    const names = message.flatMap((m) => [...m.content.matchAll(PLACEHOLDER)].map((p) => p[1]!));
    const where = which === '' ? path : `${path}#${which}`;
    const missing = [['the question', /^(question|instruction|prompt|QUESTION)/] as const, ...ANSWER[kind].map((r, i) => [kind === 'single' ? 'the answer' : `answer ${'AB'[i]}`, r] as const)].find(([, r]) => !names.some((n) => r.test(n)));
    if (missing) throw new InputError(`judge template ${where} has no place for ${missing[0]}; its placeholders are ${names.map((n) => `{${n}}`).join(', ') || 'none'}`, kind === 'pair' ? '{question} {answer_a} {answer_b}' : '{question} {answer}');
  };
  if (name !== undefined || named.size === 1) check(choose([]));
  return {
    hash: createHash('sha256').update(JSON.stringify([name, ...named])).digest('hex'),
    prompt(turns) {
      const [which, message] = choose(turns);
      const table = values(turns, kind);
      return message.map(({ role, content }) => ({
        role,
        content: content.replace(PLACEHOLDER, (_, n: string) => {
          const value = table.get(n);
          if (value === undefined) throw new InputError(`judge template ${path}${which && `#${which}`}: nothing to put for {${n}} in a question of ${turns.length} turn${turns.length === 1 ? '' : 's'}; there is ${[...table.keys()].map((k) => `{${k}}`).join(', ')}`);
          return value;
        }),
      }));
    },
  };
}
