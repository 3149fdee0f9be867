// How much of the head's gradient is zero as an f16 operand of mixed precision, on a real small model: whole tiles of zeros need not be multiplied (docs/training-step.md).
// EDPO_SHARED=FOLDER node scripts/head-zeros.mjs   (build first; an adapter with subgroup matrices)
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openGpu } from '../dist/src/gpu/device.js';
import { debugRead, debugReadU32 } from '../dist/src/gpu/readback.js';
import { Engine } from '../dist/src/model/engine.js';
import { headTable } from '../dist/src/model/recorded_run.js';
import { ModelFolder } from '../dist/src/model/files/hf_folder.js';
import { loadFrozen } from '../dist/src/model/frozen.js';
import { losses } from '../dist/src/model/losses/index.js';
import { loadWeights, useDtype } from '../dist/src/model/session.js';

const shared = process.env.EDPO_SHARED;
const data = (...path) => join(shared, 'data', ...path);
const gpu = await openGpu();
useDtype(gpu, { dtype: 'mixed_f16' });
const folder = ModelFolder.open(data('models', 'stories260K', 'hf'));
const rows = readFileSync(data('edpo-golden', 'helpful_b0.1_e0.01.tokenized.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l));
const documents = rows.map((r, id) => ({ id, prompt: r.prompt_ids, branches: [r.chosen_ids, r.rejected_ids] })).filter((d) => d.prompt.length + d.branches[0].length + d.branches[1].length < 250).slice(0, 24);
const BATCH = 6;
const policy = await loadWeights(gpu, folder, 'policy');
const reference = await loadFrozen(gpu, folder, 'reference', { base_dtype: 'auto', load_in_4bit: false, load_in_8bit: false });
const settings = { beta: 0.1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0, params: { label_smoothing: 0 }, criterionColumns: false };
const engine = await new Engine({ gpu, policy, loss: losses.epsilon_dpo, settings, reference: { kind: 'live', parameters: reference }, capacity: { rows: 1500, sequences: 64 }, training: true }).ready();
engine.setState(0.1);
const V = policy.spec.V;
const slot = engine.operands.store.weight(headTable(policy)[0].value).slots.gradient;
for (let step = 1; step <= 40; step++) {
  const docs = Array.from({ length: BATCH }, (_, i) => documents[((step - 1) * BATCH + i) % documents.length]);
  const { batch } = await engine.microBatch(docs, undefined, 1 / docs.length, true)();
  if ([1, 2, 10, 20, 40].includes(step)) {
    const { S } = batch.values;
    const [tile, state, coef, scales] = await Promise.all([engine.head.tile, engine.head.state, engine.coef, engine.operands.store.scales].map((t) => debugRead(t)));
    const [labels, seqOf] = await Promise.all([engine.batch.labels, engine.batch.seqOf].map((t) => debugReadU32(t)));
    const zero = new Uint8Array(S * V);
    let deepest = 0;
    for (let s = 0; s < S; s++) for (let v = 0; v < V; v++) {
      const p = Math.exp(tile[s * V + v] - state[s * 4]) / state[s * 4 + 1];
      deepest = Math.min(deepest, Math.log(p));
      const g = coef[seqOf[s] * 2] * ((labels[s] === v ? 1 : 0) - p);
      zero[s * V + v] = Math.abs(g * scales[slot]) <= 2 ** -25 ? 1 : 0;
    }
    const blocks = (R, C) => {
      let [all, none] = [0, 0];
      for (let r = 0; r < S; r += R) for (let c = 0; c < V; c += C) {
        all++;
        let any = false;
        for (let s = r; s < Math.min(S, r + R) && !any; s++) for (let v = c; v < Math.min(V, c + C) && !any; v++) any = zero[s * V + v] === 0;
        if (!any) none++;
      }
      return none / all;
    };
    console.log(JSON.stringify({ step, rows: S, scale: scales[slot], largest_c: Math.max(...coef.slice(0, 2 * batch.values.Q).map(Math.abs)), lowest_log_p: +deepest.toFixed(1), zero_entries: zero.reduce((a, b) => a + b, 0) / zero.length, blocks_8x8: blocks(8, 8), blocks_128x32: blocks(128, 32), blocks_128x128: blocks(128, 128) }));
  }
  await engine.optimise({ lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 })();
}
gpu.close();
process.exit(0);
