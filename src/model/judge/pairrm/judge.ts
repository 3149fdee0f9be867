import type { Gpu } from '../../../gpu/device.js';
import { loadTokenizer } from '../../text/tokenizer.js';
import type { Judge, JudgeDtype, Question, Verdict } from '../types.js';
import { comparison } from './conversation.js';
import { openPairRmFolder } from './folder.js';
import { PairInputs, type PairInput } from './inputs.js';
import { PairScorer } from './scorer.js';

/** Questions looked at together: enough to fill micro-batches; what a kill may lose. */
const CHUNK = 32;

/**
 * PairRM as the judge. A comparison is scored in both orders, d(a, b) − d(b, a) decides, and changes its sign to the bit where a and b change places:
 * above 0 `a` wins, below 0 `b`, 0 is a tie (llm-blender counts it against `a`).
 * @param signal ends it after what is under way
 * @param dtype of its matrices on the GPU; float16 is PairRM's own setting and half the memory
 */
export async function pairrmJudge(path: string, device: () => Promise<Gpu>, tokenBudget: number, signal?: AbortSignal, dtype: JudgeDtype = 'float32'): Promise<Judge> {
  const folder = openPairRmFolder(path);
  const tokenizer = await loadTokenizer(path);
  const inputs = new PairInputs(tokenizer, folder.limits, folder.spec.V, path);
  let scorer: Promise<PairScorer> | undefined;
  return {
    identity: { judge: `pairrm:${folder.weights.weightsHash()}`, tokenizer: tokenizer.hash, source_maxlength: folder.limits.source, candidate_maxlength: folder.limits.candidate, ...(dtype === 'float32' ? {} : { dtype }) },
    async ask(questions, each) {
      for (;;) {
        const some = await questions.take(CHUNK);
        if (some.length === 0 || signal?.aborted) return;
        // Both games of a prompt are the same two runs.
        const runs = new Map<string, PairInput>();
        const run = (source: string, first: string, second: string): string => {
          const key = JSON.stringify([source, first, second]);
          if (!runs.has(key)) runs.set(key, inputs.pair(source, first, second));
          return key;
        };
        const asked = some.map((q: Question) => {
          const c = comparison(q);
          return c ? { q, ab: run(c.source, c.a, c.b), ba: run(c.source, c.b, c.a) } : { q };
        });
        const keys = [...runs.keys()];
        scorer ??= device().then((gpu) => PairScorer.open(gpu, folder, tokenBudget, dtype));
        const scores = await (await scorer).score(keys.map((k) => runs.get(k)!));
        const difference = new Map(keys.map((k, i) => [k, scores[i]!.left - scores[i]!.right]));
        for (const { q, ab, ba } of asked) {
          if (ab === undefined) {
            each(q.id, 'invalid', { reason: 'the dialogue is not user and assistant by turns' });
            continue;
          }
          const [d_ab, d_ba] = [difference.get(ab)!, difference.get(ba)!];
          const decision = d_ab - d_ba;
          each(q.id, verdict(decision), { decision, d_ab, d_ba, ...(runs.get(ab)!.truncated || runs.get(ba)!.truncated ? { truncated: true } : {}) });
        }
      }
    },
  };
}

const verdict = (decision: number): Verdict => (!Number.isFinite(decision) ? 'invalid' : decision > 0 ? 'a' : decision < 0 ? 'b' : 'tie');
