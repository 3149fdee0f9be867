import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Seen {
  path: string;
  headers: IncomingMessage['headers'];
  body: { model: string; messages: Array<{ role: string; content: string }>; stream?: boolean; max_tokens?: number; [key: string]: unknown };
  /** All the messages' text. */
  text: string;
}
/** Answers the n-th request (from 0), well or badly. */
export type Behaviour = (seen: Seen, response: ServerResponse, n: number) => void | Promise<void>;

/** The section of that title, of the last turn where there are several. */
const between = (text: string, title: string): string => [...text.matchAll(new RegExp(`<<< ${title}(?:, turn \\d+)?\\n([\\s\\S]*?)\\n>>> end`, 'g'))].at(-1)?.[1] ?? '';

/** What a judge that likes the longer answer says, in the form the protocol of the request asks for. */
export function opinion(seen: Seen): { content: string; top?: Array<{ token: string; logprob: number }> } {
  if (seen.body['logprobs'] === true) {
    const [m, M] = ['answer of m', 'answer of M'].map((name) => -1 / (1 + between(seen.text, name).length)) as [number, number];
    return { content: m > M ? 'm' : 'M', top: [{ token: 'M', logprob: M }, { token: 'm', logprob: m }, { token: 'The', logprob: -9 }] };
  }
  const alone = between(seen.text, 'answer of the assistant');
  if (alone !== '') return { content: `It has ${alone.length} characters. [[${Math.min(10, alone.length)}]]` };
  const [a, b] = ['A', 'B'].map((name) => between(seen.text, `answer of assistant ${name}`).length) as [number, number];
  if (seen.text.includes('[[A>>B]]')) return { content: `I weighed both.\n[[${a > b ? (a > 2 * b ? 'A>>B' : 'A>B') : a < b ? 'B>A' : 'A=B'}]]` };
  return { content: `I weighed both. [[${a > b ? 'A' : a < b ? 'B' : 'C'}]]` };
}

export const completion = (said: ReturnType<typeof opinion>, over: object = {}): string => JSON.stringify({
  id: 'x', object: 'chat.completion', model: 'judge-1', usage: { prompt_tokens: 100, completion_tokens: 7 },
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: said.content }, ...(said.top ? { logprobs: { content: [{ token: said.content, logprob: 0, top_logprobs: said.top }] } } : {}), ...over }],
});
export const good: Behaviour = (seen, response) => {
  response.writeHead(200, { 'content-type': 'application/json' }).end(completion(opinion(seen)));
};
export const status = (code: number, body: unknown = { error: { message: `status ${code}` } }, headers: Record<string, string> = {}): Behaviour => (_, response) => {
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body));
};
/** Goes through the behaviours in turn, then stays good. */
export const first = (...list: Behaviour[]): Behaviour => (seen, response, n) => (list[n] ?? good)(seen, response, n);

/** A real endpoint on a free port that behaves as it is told. */
export class JudgeServer {
  readonly seen: Seen[] = [];
  atOnce = 0;
  mostAtOnce = 0;
  private constructor(private readonly server: Server, public behaviour: Behaviour) {}

  static async start(behaviour: Behaviour = good): Promise<JudgeServer> {
    const server = createServer();
    const judge = new JudgeServer(server, behaviour);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => void judge.handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return judge;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1`;
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const body = JSON.parse(text) as Seen['body'];
    const seen = { path: request.url ?? '', headers: request.headers, body, text: body.messages.map((m) => m.content).join('\n') };
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
    // Over with the last byte handed on, or with the connection: never after the client may have seen the end.
    let open = true;
    const over = (): void => {
      if (open) this.atOnce--;
      open = false;
    };
    const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse;
    response.end = ((...args: unknown[]) => {
      over();
      return end(...args);
    }) as typeof response.end;
    response.on('close', over);
    await this.behaviour(seen, response, this.seen.push(seen) - 1);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
