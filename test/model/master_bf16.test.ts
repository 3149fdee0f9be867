import t from 'tap';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import type { Document } from '../../src/model/batch/pack.js';
import { decode16, encode16 } from '../../src/model/files/float_formats.js';
import { optimisers, OPTIMISER_NAMES } from '../../src/model/optim/index.js';
import { trainedStorage } from '../../src/model/storage.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

const r = rng(6);
const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
const documents: Document[] = [[4, 5, 3], [1, 2, 9], [7, 1, 1]].map(([p, c, j], id) => ({ id, prompt: tokens(p!), branches: [tokens(c!), tokens(j!)] }));
const bf16 = trainedStorage({ master_dtype: 'bfloat16' });

// Odd widths leave the last word of a matrix half full; tied, the embedding has the head's gradient too.
for (const over of [{ hidden_size: 21, tie_word_embeddings: true }, { hidden_size: 32, intermediate_size: 44, head_dim: 8, tie_word_embeddings: false }]) {
  t.test(`width ${over.hidden_size}: a policy trained in bf16 has the losses and gradients of one in f32 with its weights, and every optimiser moves it as that, rounded without bias`, async (t) => {
    const gpu = await testGpu();
    const spec = tinySpec(over);
    const weights = Object.fromEntries(Object.entries(tinyWeights(spec, 4)).map(([name, w]) => [name, decode16(encode16(w, 'BF16'), 'BF16')]));
    const reference = await loadParameters(gpu, spec, tinyWeights(spec, 5), false, 'reference');
    for (const name of OPTIMISER_NAMES) {
      const run = async (label: string, storage?: typeof bf16) => {
        const policy = await loadParameters(gpu, spec, weights, true, label, storage);
        const engine = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { optimiser: optimisers[name], optimiserSettings: { momentum: 0.9 } });
        const { table } = await engine.microBatch(documents, undefined, 1 / documents.length, true)();
        const grads = new Map<string, Float32Array>();
        for (const p of policy.list) grads.set(p.name, await policy.read(p.name, 'grad'));
        engine.stepKey = 99;
        await engine.optimise({ lr: 2e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 0, weightDecay: 0.01 })();
        return { policy, table, grads };
      };
      const [plain, packed] = [await run('f32'), await run('bf16', bf16)];
      const loss = PAIR_COLUMNS.indexOf('loss');
      for (let i = 0; i < documents.length; i++) t.ok(Math.abs(packed.table[i * PAIR_COLUMNS.length + loss]! - plain.table[i * PAIR_COLUMNS.length + loss]!) < 1e-6, `${name}: loss ${i}`);
      let [sum, squares, moved] = [0, 0, 0];
      for (const { name: tensor, shape } of packed.policy.list) {
        const [got, want] = [packed.grads.get(tensor)!, plain.grads.get(tensor)!];
        t.ok(Math.hypot(...got.map((v, i) => v - want[i]!)) <= 1e-5 * Math.hypot(...want), `${name}: gradient of ${tensor}`);
        const [after, exact] = [await packed.policy.read(tensor), await plain.policy.read(tensor)];
        // 2^-7 of a number at most is between it and its neighbours in bf16; 1e-5 is for the gradients' rounding, which Adam's first step shows most where they are near 0.
        const bound = (v: number): number => (shape.length === 2 ? 2 ** -7 * Math.abs(v) : 0) + 1e-5;
        const off = after.findIndex((v, i) => !(Math.abs(v - exact[i]!) <= bound(exact[i]!)));
        t.equal(off, -1, `${name}: ${tensor}[${off}] is ${after[off]}, exactly ${exact[off]}`);
        if (shape.length !== 2) continue;
        t.ok(after.every((v, i) => v === decode16(encode16(after.subarray(i, i + 1), 'BF16'), 'BF16')[0]), `${name}: ${tensor} is in bf16`);
        after.forEach((v, i) => {
          // In units of the number, as the spacing is.
          const e = (v - exact[i]!) / Math.max(Math.abs(exact[i]!), 1e-3);
          [sum, squares] = [sum + e, squares + e * e];
          moved += v === weights[tensor]![i] ? 0 : 1;
        });
      }
      const n = packed.policy.list.filter((p) => p.shape.length === 2).reduce((m, p) => m + p.shape[0]! * p.shape[1]!, 0);
      t.ok(Math.abs(sum) < 4 * Math.sqrt(squares), `${name}: mean error ${sum / n}, standard error ${Math.sqrt(squares) / n}`);
      t.ok(moved > n / 50, `${name}: ${moved} of ${n} moved`);
    }
  });
}
