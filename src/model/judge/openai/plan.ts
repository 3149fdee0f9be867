import { createHash } from 'node:crypto';
import { settings, type OpenAIOptions, type Settings } from './options.js';
import { turnsOf, type EndpointQuestion, type Turn } from './prompts.js';
import { protocolOf, type Protocol } from './protocols.js';
import { switchedOutputs } from './switched.js';
import { readTemplate } from './template.js';

/** A judge's settings ready to make requests of. */
export class Plan {
  readonly s: Settings;
  readonly protocol: Protocol;
  private readonly template: ReturnType<typeof readTemplate> | undefined;

  constructor(options: OpenAIOptions) {
    this.s = settings(options);
    this.protocol = protocolOf(this.s.protocol);
    this.template = this.s.template === undefined ? undefined : readTemplate(this.s.template, this.protocol.kind);
  }

  body(turns: Turn[]): Record<string, unknown> {
    const messages = (this.template?.prompt ?? this.protocol.prompt)(turns);
    const stream = this.s.stream ? { stream: true, stream_options: { include_usage: true } } : {};
    const merged = { model: this.s.model, messages, ...this.protocol.parameters, ...stream, ...this.s.parameters };
    return Object.fromEntries(Object.entries(merged).filter(([, v]) => v !== null && v !== undefined));
  }

  /** The question as shown, and whether the sides changed places. */
  shown(q: EndpointQuestion): { turns: Turn[]; switched: boolean } {
    const turns = turnsOf(q);
    const switched = this.s.order === 'hashed' && switchedOutputs(q.prompt, this.s.orderSeed);
    return { turns: switched ? turns.map((t) => ({ ...t, a: t.b, b: t.a })) : turns, switched };
  }

  /** Bodies of the requests a comparison takes: one for both sides, or one for each where answers are graded alone. */
  bodies(q: EndpointQuestion): object[] {
    if (this.protocol.equalIsTie && q.a === q.b) return [];
    const { turns } = this.shown(q);
    return this.protocol.kind === 'pair' ? [this.body(turns)] : (['a', 'b'] as const).map((side) => this.body(turns.map((t) => ({ ...t, a: t[side], b: t[side] }))));
  }

  /** Everything a verdict depends on besides the question; never the key. */
  identity(): Record<string, unknown> {
    const { s } = this;
    const probe = this.template?.hash ?? createHash('sha256').update(JSON.stringify(this.protocol.prompt([{ prompt: '{question}', a: '{answer_a}', b: '{answer_b}' }]))).digest('hex');
    return { judge: `openai:${s.model}`, protocol: s.protocol, prompt: probe, order: s.order, ...(s.order === 'hashed' ? { order_seed: s.orderSeed } : {}), parameters: { ...this.protocol.parameters, ...s.parameters }, endpoint: s.place };
  }
}
