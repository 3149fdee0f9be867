import { readFileSync } from 'node:fs';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { STATS } from '../../src/gpu/ops/head_kernels.js';
import { debugRead } from '../../src/gpu/readback.js';
import { documentRows, planMicroBatches, type Document } from '../../src/model/batch/pack.js';
import { ModelFolder } from '../../src/model/files/hf_folder.js';
import { Parameters } from '../../src/model/parameters.js';
import { makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { realTest, sharedData } from '../helpers/shared.js';

async function load(name: string, label: string): Promise<Parameters> {
  const folder = ModelFolder.open(sharedData('models', name, 'hf'));
  const parameters = new Parameters(await testGpu(), folder.spec, false, label);
  await parameters.load((p, first, rows) => folder.readF32(p, first, rows));
  return parameters;
}

realTest('stories260K: per-token log-probs within 1e-4 of the f64 golden', async (t) => {
  const gpu = await testGpu();
  const golden = JSON.parse(readFileSync(sharedData('models', 'stories260K', 'golden.json'), 'utf8')) as { computed_here: { sequences: Array<{ ids: number[]; logprobs: number[] }>; greedy_ids_with_bos: number[]; greedy_logprobs: number[] } };
  const engine = await makeEngine(gpu, await load('stories260K', 'policy'), 'sft', { kind: 'none' }, { training: false, rows: 512 });
  const { sequences, greedy_ids_with_bos, greedy_logprobs } = golden.computed_here;
  for (const { ids, logprobs } of [...sequences, { ids: greedy_ids_with_bos, logprobs: greedy_logprobs }]) {
    const { batch } = await engine.microBatch([{ id: 0, prompt: ids.slice(0, 1), branches: [ids.slice(1)] }], undefined, 1, false)();
    const stats = await debugRead(engine.head.stats);
    let worst = 0;
    let sum = 0;
    for (let s = 0; s < batch.values.S; s++) {
      worst = Math.max(worst, Math.abs(stats[s * STATS.length]! - logprobs[s]!));
      sum += stats[s * STATS.length]! - logprobs[s]!;
    }
    t.ok(worst < 1e-4 && Math.abs(sum) < 1e-3, `${ids.length} tokens: worst ${worst}, sum off by ${sum}`);
  }
});

for (const name of ['helpful_b0.1_e0.01', 'harmless_b0.05_e0.02', 'helpful_b0.1_e0.5']) {
  realTest(`ε-DPO golden set ${name}: steps, margins, Δ and KL with a live reference`, async (t) => {
    const gpu = await testGpu();
    const golden = JSON.parse(readFileSync(sharedData('edpo-golden', `${name}.json`), 'utf8')) as { beta: number; epsilon: number; rows: Array<Record<string, number>> };
    const lines = readFileSync(sharedData('edpo-golden', `${name}.tokenized.jsonl`), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as { prompt_ids: number[]; chosen_ids: number[]; rejected_ids: number[] });
    const policy = await load('stories260K-nudged', 'policy');
    const reference = await load('stories260K', 'reference');
    const engine = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { training: false, rows: 1024, over: { beta: golden.beta, epsilonCheck: golden.epsilon, epsilonSize: golden.epsilon } });
    const column = (row: Float32Array, key: (typeof PAIR_COLUMNS)[number]): number => row[PAIR_COLUMNS.indexOf(key)]!;
    const worst = { margin: 0, delta: 0, kl: 0, steps: 0, loss: 0 };
    const documents = lines.map((l, id): Document => ({ id, prompt: l.prompt_ids, branches: [l.chosen_ids, l.rejected_ids] }));
    const tables: Float32Array[] = [];
    for (const group of planMicroBatches(documents.map((d) => ({ rows: documentRows(d), sequences: 2, id: d.id })), { rows: 1024, sequences: 32 })) {
      const { table } = await engine.microBatch(group.map((i) => documents[i]!), undefined, 1, false)();
      group.forEach((i, k) => (tables[i] = table.slice(k * PAIR_COLUMNS.length, (k + 1) * PAIR_COLUMNS.length)));
    }
    for (let i = 0; i < lines.length; i++) {
      const table = tables[i]!;
      const want = golden.rows[i]!;
      worst.steps += Number(column(table, 'epsilon_step') !== want['epsilon_step']);
      worst.margin = Math.max(worst.margin, Math.abs(column(table, 'margin') - want['margin']!));
      worst.loss = Math.max(worst.loss, Math.abs(column(table, 'loss') - want['loss']!));
      for (const k of ['delta_plus', 'delta_minus'] as const) worst.delta = Math.max(worst.delta, Math.abs(column(table, k) - want[k]!));
      for (const k of ['kl_policy_ref_chosen', 'kl_policy_ref_rejected', 'kl_ref_policy_chosen', 'kl_ref_policy_rejected', 'entropy_chosen', 'entropy_rejected'] as const) worst.kl = Math.max(worst.kl, Math.abs(column(table, k) / want[k]! - 1));
    }
    t.equal(worst.steps, 0, 'every ε-step');
    t.ok(worst.margin < 1e-3, `margin off by ${worst.margin}`);
    t.ok(worst.delta < 5e-5, `Δ off by ${worst.delta}`);
    t.ok(worst.kl < 1e-4, `KL and entropy off by ${worst.kl} relative`);
    t.ok(worst.loss < 1e-4, `loss off by ${worst.loss}`);
  });
}
