import type { Question } from '../types.js';

export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** One turn of a conversation with both assistants' answers. `reference`: an answer known to be right, for the judge alone. */
export interface Turn {
  prompt: string;
  a: string;
  b: string;
  reference?: string;
}

/** A comparison for an endpoint: of MT-Bench's second turns the earlier ones too. Judged is the last turn. */
export interface EndpointQuestion extends Question {
  earlier?: Turn[];
  reference?: string;
}

/** One answer to grade. */
export interface GradedAnswer {
  id: string;
  prompt: string;
  answer: string;
  earlier?: Array<Omit<Turn, 'a' | 'b'> & { answer: string }>;
  reference?: string;
}

/** Turns in order, the judged one last. */
export const turnsOf = (q: EndpointQuestion): Turn[] => [...(q.earlier ?? []), { prompt: q.prompt, a: q.a, b: q.b, ...(q.reference === undefined ? {} : { reference: q.reference }) }];

/** Makes the messages of one request. Of a single grading both `a` and `b` of each turn are the answer. */
export type Prompt = (turns: Turn[]) => Message[];

const section = (title: string, text: string): string => `<<< ${title}\n${text}\n>>> end of ${title}`;
const label = (what: string, turn: number, of: number): string => (of === 1 ? what : `${what}, turn ${turn + 1}`);
const messages = (system: string, user: string): Message[] => [{ role: 'system', content: system }, { role: 'user', content: user }];

/** The conversation as sections; `answers` names the sides to show. */
function conversation(turns: Turn[], answers: Array<['a' | 'b', string]>): string {
  return turns.flatMap((turn, i) => [
    section(label('user’s request', i, turns.length), turn.prompt),
    ...(turn.reference === undefined ? [] : [section(label('reference answer (known to be right; only you see it)', i, turns.length), turn.reference)]),
    ...answers.map(([side, name]) => section(label(name, i, turns.length), turn[side])),
  ]).join('\n\n');
}
const lastTurn = (turns: Turn[]): string => (turns.length === 1 ? '' : ' Earlier turns are context: judge the answers to the last request.');
const references = (turns: Turn[]): string => (turns.some((t) => t.reference !== undefined) ? ' Hold the answers against the reference answer, and do not punish another way that is right too.' : '');
const FAIR = 'Neither the order in which they are shown nor their length or their names are reasons.';

/** One token, m or M, as AlpacaEval's weighted judge wants it. */
export const tokenPrompt: Prompt = (turns) => messages(
  'You compare the answers of two language models and name the one that people would prefer.',
  `Two models, called m and M, answered the same request.${lastTurn(turns)}${references(turns)} Decide which answer people would rather have. ${FAIR}\n\n${conversation(turns, [['a', 'answer of m'], ['b', 'answer of M']])}\n\nReply with the name of the better model and nothing else, not a space before it: m or M.`,
);

/** A verdict on a scale of five, as Arena-Hard reads it. */
export const arenaPrompt: Prompt = (turns) => messages(
  `You are a fair judge of two assistants, A and B, who answered the same request.${lastTurn(turns)}${references(turns)} First work out your own answer to the request. Then compare both answers with it: name mistakes, say what is missing, and weigh how helpful, relevant and concise each is. ${FAIR}\n`
  + 'Close with exactly one of these five labels, in double square brackets:\n[[A>>B]] A is much better\n[[A>B]] A is a little better\n[[A=B]] both are about equal\n[[B>A]] B is a little better\n[[B>>A]] B is much better',
  conversation(turns, [['a', 'answer of assistant A'], ['b', 'answer of assistant B']]),
);

/** A winner or a tie, as MT-Bench's pairwise mode reads it. */
export const pairPrompt: Prompt = (turns) => messages(
  `You are a fair judge of two assistants, A and B, who talked to the same user.${lastTurn(turns)}${references(turns)} Say which one followed the instructions and served the user better: helpfulness, relevance, correctness, depth, creativity and detail count. ${FAIR} Compare first, in a few sentences, then close with your verdict in exactly this form: [[A]] if assistant A is better, [[B]] if assistant B is better, [[C]] for a tie.`,
  conversation(turns, [['a', 'answer of assistant A'], ['b', 'answer of assistant B']]),
);

/** A mark from 1 to 10, as MT-Bench's single mode reads it. */
export const ratingPrompt: Prompt = (turns) => messages(
  `You are a fair judge of an assistant’s answer.${lastTurn(turns)}${references(turns)} Consider helpfulness, relevance, correctness, depth, creativity and detail. Explain in a few sentences, then close with a mark from 1 (useless) to 10 (could not be better) in exactly this form: [[rating]], for example [[5]].`,
  conversation(turns, [['a', 'answer of the assistant']]),
);
