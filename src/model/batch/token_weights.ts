import { EdpoError } from '../../errors.js';
import type { TokenWeights } from '../losses/types.js';
import type { Document } from './pack.js';

/**
 * Weights of every scored row in `pack`'s order, [S, 2]: of its log-prob and of its KL (the same here). `data`: the documents' own.
 * `length`: LD-DPO (arXiv 2409.06411), 1 for as many first tokens as every response of the document has, α after. Scored prompt rows count 1.
 */
export function tokenWeights(documents: Document[], of: Extract<TokenWeights, { from: 'data' | 'length' }>, scorePrompt = false): Float32Array {
  const list: number[] = [];
  for (const d of documents) {
    const common = Math.min(...d.branches.map((b) => b.length));
    d.branches.forEach((branch, k) => {
      const own = d.weights?.[k];
      if (of.from === 'data' && own?.length !== branch.length) throw new EdpoError(`pair ${d.id}: ${own?.length ?? 'no'} token weights for ${branch.length} tokens of response ${k}`, { exitCode: 2 });
      for (let i = 0; i < branch.length; i++) {
        const w = of.from === 'data' ? own![i]! : i < common ? 1 : of.alpha;
        list.push(w, w);
      }
    });
    if (scorePrompt) for (let i = 1; i < d.prompt.length; i++) list.push(1, 1);
  }
  return Float32Array.from(list);
}
