/** The part of a chat completion that verdicts and bills depend on. */
export interface Reply {
  content: string;
  /** stop, length (cut by max_tokens), content_filter, … */
  finish_reason: string | null;
  /** Log-probabilities (nats) of the likeliest first tokens; absent where the endpoint gave none. */
  top_logprobs?: Array<{ token: string; logprob: number }>;
  prompt_tokens?: number;
  completion_tokens?: number;
  /** The model's name in the endpoint's words. */
  model?: string;
}

/** A reply that is no whole chat completion: asking again may help. */
export class BrokenReply extends Error {}
/** An error that came with status 200, as some gateways send it. */
export class ErrorReply extends Error {
  constructor(message: string, readonly status: number | undefined, readonly code: string | undefined) {
    super(message);
  }
}

type Json = Record<string, unknown>;
const object = (v: unknown): Json | undefined => (typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Json) : undefined);
const first = (v: unknown): Json | undefined => (Array.isArray(v) ? object(v[0]) : undefined);

function parse(text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BrokenReply(`the reply is no JSON (it begins ${JSON.stringify(text.slice(0, 60))})`);
  }
  const json = object(value);
  if (!json) throw new BrokenReply('the reply is no JSON object');
  if (json['error'] !== undefined && json['error'] !== null) {
    const { message, status, code } = errorOf(json);
    throw new ErrorReply(message, status, code);
  }
  return json;
}

/** Message and code of an error body; a numeric code is a status. */
export function errorOf(json: Json): { message: string; status: number | undefined; code: string | undefined } {
  const e = object(json['error']);
  const code = e?.['code'] ?? e?.['type'] ?? json['code'];
  const message = e?.['message'] ?? json['message'] ?? json['detail'] ?? json['error'];
  return {
    message: typeof message === 'string' ? message : JSON.stringify(message ?? ''),
    status: typeof code === 'number' ? code : undefined,
    code: typeof code === 'string' ? code : undefined,
  };
}

function topLogprobs(choice: Json): Pick<Reply, 'top_logprobs'> {
  const top = first(object(choice['logprobs'])?.['content'])?.['top_logprobs'];
  if (!Array.isArray(top)) return {};
  const entries = top.map(object).filter((e): e is Json & { token: string; logprob: number } => typeof e?.['token'] === 'string' && typeof e['logprob'] === 'number');
  return { top_logprobs: entries.map(({ token, logprob }) => ({ token, logprob })) };
}

function counts(json: Json): Pick<Reply, 'prompt_tokens' | 'completion_tokens'> {
  const usage = object(json['usage']);
  const count = (k: 'prompt_tokens' | 'completion_tokens'): object => (typeof usage?.[k] === 'number' ? { [k]: usage[k] } : {});
  return { ...count('prompt_tokens'), ...count('completion_tokens') };
}

const reason = (choice: Json): string | null => (typeof choice['finish_reason'] === 'string' ? choice['finish_reason'] : null);
const modelOf = (json: Json): Pick<Reply, 'model'> => (typeof json['model'] === 'string' ? { model: json['model'] } : {});

/** Reads a chat completion. @throws BrokenReply, ErrorReply */
export function readReply(text: string): Reply {
  const json = parse(text);
  const choice = first(json['choices']);
  const message = object(choice?.['message']);
  if (!choice || !message) throw new BrokenReply('the reply has no choices[0].message');
  const content = message['content'] ?? '';
  if (typeof content !== 'string') throw new BrokenReply('the reply’s content is no text');
  return { content, finish_reason: reason(choice), ...topLogprobs(choice), ...counts(json), ...modelOf(json) };
}

/** Reads the events of a streamed chat completion; without its closing [DONE] it is half a reply. @throws BrokenReply, ErrorReply */
export function readStream(text: string): Reply {
  const reply: Reply = { content: '', finish_reason: null };
  let done = false;
  let chunks = 0;
  for (const line of text.split(/\r\n|\n|\r/)) {
    const data = /^data: ?(.*)$/.exec(line)?.[1];
    if (data === undefined) continue;
    if (data === '[DONE]') {
      done = true;
      break;
    }
    const json = parse(data);
    Object.assign(reply, counts(json), modelOf(json));
    const choice = first(json['choices']);
    if (!choice) continue;
    chunks++;
    const part = object(choice['delta'])?.['content'];
    if (typeof part === 'string') reply.content += part;
    if (reply.top_logprobs === undefined) Object.assign(reply, topLogprobs(choice));
    reply.finish_reason = reason(choice) ?? reply.finish_reason;
  }
  if (!done || chunks === 0) throw new BrokenReply('the stream broke off before its end');
  return reply;
}
