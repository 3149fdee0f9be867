import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/config/load.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { ModelFolder } from '../../src/model/files/hf_folder.js';
import { writeSafetensors } from '../../src/model/files/safetensors.js';
import { loadFrozen } from '../../src/model/frozen.js';
import { testGpu } from '../helpers/gpu.js';
import { tinyConfig, tinySpec } from '../helpers/tiny_model.js';

t.test('loading holds no weight twice but the one at work: peak process memory beyond the buffers, which lie in the process here', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'edpo-loading-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const over = { hidden_size: 512, intermediate_size: 2048, num_hidden_layers: 6, num_attention_heads: 8, head_dim: 64, vocab_size: 24000 };
  const list = parameterSpecs(tinySpec(over));
  const count = (p: (typeof list)[number]): number => p.shape.reduce((a, b) => a * b, 1);
  await writeSafetensors(join(dir, 'model.safetensors'), list.map((p) => ({
    name: p.name, dtype: 'BF16' as const, shape: p.shape,
    read: async (_first: number, rows: number) => Float32Array.from({ length: rows * (p.shape[1] ?? 1) }, (_, i) => ((i * 37) % 101) / 1010 - 0.05),
  })));
  writeFileSync(join(dir, 'config.json'), JSON.stringify(tinyConfig(over)));
  const folder = ModelFolder.open(dir);
  const gpu = await testGpu();
  const config = { ...loadConfig({ flags: {}, command: 'config' }).config, load_in_4bit: true, use_bnb_nested_quant: true };
  const largest = Math.max(...list.map(count)) * 4;
  const whole = list.reduce((n, p) => n + count(p), 0) * 4;
  const [before, held] = [process.memoryUsage().rss, gpu.bytesNow];
  const parameters = await loadFrozen(gpu, folder, 'policy', config);
  const allocated = gpu.bytesNow - held;
  const peak = process.resourceUsage().maxRSS * 1024 - before - allocated;
  t.comment(`largest tensor ${largest}, all in f32 ${whole}, buffers ${allocated}, peak beyond them ${peak}`);
  t.ok(allocated < 0.35 * whole, `${allocated} of ${whole}`);
  t.ok(peak < largest + 1e9, `${peak}`);
  // The bound of a large model says little of a small one: here all of it in f32 would show.
  t.ok(peak < whole, `${peak} of ${whole}`);
  parameters.destroy();
  folder.close();
});
