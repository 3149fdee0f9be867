import { InputError } from '../../../errors.js';
import type { Gpu } from '../../../gpu/device.js';
import { chatTemplate } from '../../text/template.js';
import { loadTokenizer } from '../../text/tokenizer.js';
import type { Judge } from '../types.js';
import { openRewardFolder, RewardDecoder } from './decoder.js';
import { onnxFile, onnxJudge } from './onnx.js';

/** Questions looked at together: enough to fill micro-batches. */
const CHUNK = 64;

/**
 * A reward model as the judge: the answer with the higher score wins, equal scores tie. A dialogue is rendered with the reward model's own chat
 * template: the prompt as one user turn, the answer as the assistant's. Scores do not depend on order, so the two orders always agree.
 */
export async function rewardJudge(path: string, device: () => Promise<Gpu>, tokenBudget: number): Promise<Judge> {
  if (onnxFile(path)) return onnxJudge(path);
  const folder = openRewardFolder(path);
  const tokenizer = await loadTokenizer(path);
  const template = chatTemplate(undefined, tokenizer.chatTemplate, tokenizer.special);
  if (!template) throw new InputError(`${path}: the tokenizer has no chat_template, so there is no telling how a dialogue is shown to this reward model`, `put the template into ${path}/chat_template.jinja`);
  const ids = (prompt: string, answer: string): number[] => {
    const list = tokenizer.encode(template.render([{ role: 'user', content: prompt }, { role: 'assistant', content: answer }], false));
    if (tokenizer.bosId !== undefined && tokenizer.addBos && list[0] !== tokenizer.bosId) list.unshift(tokenizer.bosId);
    return list;
  };
  let decoder: Promise<RewardDecoder> | undefined;
  return {
    identity: { judge: `reward:${folder.weightsHash()}` },
    async ask(questions, each) {
      for (;;) {
        const some = await questions.take(CHUNK);
        if (some.length === 0) return;
        const texts = [...new Map(some.flatMap((q) => [q.a, q.b].map((answer) => [JSON.stringify([q.prompt, answer]), { prompt: q.prompt, answer }] as const)))];
        decoder ??= device().then((gpu) => RewardDecoder.open(gpu, folder, tokenBudget));
        const scores = await (await decoder).score(texts.map(([, { prompt, answer }]) => ids(prompt, answer)));
        const of = new Map(texts.map(([key], i) => [key, scores[i]!]));
        for (const q of some) {
          const [a, b] = [of.get(JSON.stringify([q.prompt, q.a]))!, of.get(JSON.stringify([q.prompt, q.b]))!];
          each(q.id, Number.isNaN(a - b) ? 'invalid' : a > b ? 'a' : b > a ? 'b' : 'tie', { score_a: a, score_b: b });
        }
      }
    },
  };
}
