import t from 'tap';
import { modelSpec } from '../../src/model/families/index.js';
import { parameterCount } from '../../src/model/families/spec.js';
import { PUBLISHED } from './published_configs.js';

const spec = (name: string) => modelSpec(PUBLISHED[name]!.config, name);

t.test('published configurations are read as they stand, and give the published number of parameters', async (t) => {
  for (const [name, { parameters }] of Object.entries(PUBLISHED)) t.equal(parameterCount(spec(name)), parameters, name);
});

t.test('what the configurations say beside sizes', async (t) => {
  const windows = (name: string): number[] => [...new Set(spec(name).block.attention.windows)];
  t.same(windows('mistralai/Mistral-7B-v0.1'), [4096]);
  for (const v of ['2', '3']) t.same(windows(`mistralai/Mistral-7B-Instruct-v0.${v}`), [0], `v0.${v} has no window`);
  t.same(windows('microsoft/Phi-3-mini-4k-instruct'), [2047]);
  t.same(windows('Qwen/Qwen2.5-0.5B-Instruct'), [0], 'a window that is switched off');
  t.same(spec('google/gemma-2-2b-it').block.attention.windows.slice(0, 4), [4096, 0, 4096, 0]);
  t.same(spec('google/gemma-3-1b-it').block.attention.windows.slice(0, 7), [512, 512, 512, 512, 512, 0, 512]);
  t.match(spec('google/gemma-2-2b-it'), { tied: true, logitSoftCap: 30, embedScale: 48, block: { norm: { offset: 1 }, attention: { softCap: 50, scale: 1 / 16 }, mlp: { gate: 'gelu_tanh' } } });
  t.match(spec('google/gemma-2b-it'), { tied: true, logitSoftCap: 0, block: { mlp: { gate: 'gelu_tanh' } } }, 'Gemma’s "gelu" is the tanh form');
  for (const name of ['meta-llama/Llama-3.2-1B-Instruct', 'HuggingFaceTB/SmolLM2-135M-Instruct', 'Qwen/Qwen3-0.6B', 'openai-community/gpt2']) t.ok(spec(name).tied, `${name}: tied`);

  // Llama 3.1's slowest pair turns `factor` times slower than RoPE's own, the fastest as fast.
  for (const [name, factor] of [['meta-llama/Llama-3.1-8B-Instruct', 8], ['meta-llama/Llama-3.2-1B-Instruct', 32]] as const) {
    const { C, block } = spec(name);
    const [first, last] = [block.position.rotary[0]!.frequencies[0]!, block.position.rotary[0]!.frequencies.at(-1)!];
    t.equal(first, 1);
    t.ok(Math.abs(last / (500000 ** (-(C - 2) / C) / factor) - 1) < 1e-12, `${name}: ${last}`);
  }
  const phi = spec('microsoft/Phi-3.5-mini-instruct').block.position.rotary[0]!;
  t.equal(phi.long!.from, 4096);
  // √(1 + ln 32 / ln 4096)
  t.ok(Math.abs(phi.scale - 1.1902380714238083) < 1e-12, `${phi.scale}`);
  t.equal(spec('EleutherAI/pythia-1.4b').block.position.rotary[0]!.frequencies.length, 16, 'a quarter of a head of 128 is turned, in pairs');
  t.same(spec('google/gemma-3-1b-it').block.position.rotary.map((r) => Math.round(1 / r.frequencies[1]! ** 128)), [1e6, 1e4], 'two kinds of RoPE');
});
