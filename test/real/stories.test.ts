import { readFileSync } from 'node:fs';
import { STATS } from '../../src/gpu/ops/head_kernels.js';
import { debugRead } from '../../src/gpu/readback.js';
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
