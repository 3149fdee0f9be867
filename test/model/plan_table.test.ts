import t from 'tap';
import { headWidth } from '../../src/gpu/ops/head.js';
import { Parameters } from '../../src/model/parameters.js';
import type { RunConfig } from '../../src/config/keys.js';
import { loadConfig } from '../../src/config/load.js';
import { modelSpec } from '../../src/model/families/index.js';
import { adaptersOf } from '../../src/model/lora_run.js';
import { trainingMemory } from '../../src/model/memory_advice.js';
import { cheapestChanges } from '../../src/model/memory_changes.js';
import { lossOf } from '../../src/model/session.js';
import { planTable, SETUPS, type PlanRow } from '../../src/model/plan_table.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { Adapters } from '../../src/model/lora.js';
import { loraSettings } from '../../src/model/lora_run.js';
import { optimisers } from '../../src/model/optim/index.js';
import { optimiserSettings } from '../../src/model/optim/settings.js';
import { frozenStorage, trainedStorage } from '../../src/model/storage.js';
import { makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { PUBLISHED } from './published_configs.js';

/** ε-DPO with every matrix adapted: more than DPO's log-probs and PEFT's default modules take. */
const config: RunConfig = loadConfig({ file: undefined, flags: { model_name_or_path: 'x', loss_type: 'epsilon_dpo', lora_target_modules: 'all-linear' }, env: {}, command: 'plan' }).config;
const spec = (name: string) => modelSpec(PUBLISHED[name]!.config, name);
const at = (table: PlanRow[], setup: string, rows: number, checkpointing = true): PlanRow => table.find((r) => r.setup === setup && r.rows === rows && r.checkpointing === checkpointing)!;

t.test('the targets at 4,096 rows with per-layer checkpointing, by plan arithmetic at real sizes', async (t) => {
  const gemma = planTable(spec('google/gemma-2-2b-it'), config);
  const llama = planTable(spec('meta-llama/Meta-Llama-3-8B-Instruct'), config);
  const under = (table: PlanRow[], setup: string, gb: number): void => {
    const { memory } = at(table, setup, 4096);
    t.ok(memory.total < gb * 1e9, `${setup}: ${(memory.total / 1e9).toFixed(2)} GB, allowed ${gb}`);
    t.comment(`${setup}: ${(memory.total / 1e9).toFixed(2)} GB of ${gb}`);
  };
  under(gemma, 'full', 48);
  under(gemma, 'full, 8-bit AdamW', 38);
  under(llama, 'LoRA on a 16-bit base', 24);
  under(llama, 'QLoRA', 12);
});

t.test('the table holds what training takes, and nothing else', (t) => {
  const names = (dtype: RunConfig['dtype']): string[] => [...new Set(planTable(spec('google/gemma-2-2b-it'), { ...config, dtype }).map((r) => r.setup))];
  t.same(names('float32'), SETUPS.map((s) => s.name));
  t.same(names('mixed_f16'), SETUPS.filter((s) => s.keys.master_dtype !== 'bfloat16').map((s) => s.name), 'bfloat16 masters have no f16 copies');
  for (const dtype of ['float32', 'mixed_f16'] as const) {
    for (const { name, keys } of SETUPS.filter((s) => names(dtype).includes(s.name))) {
      const flags = Object.fromEntries(Object.entries({ model_name_or_path: 'x', data_files: 'd.jsonl', output_dir: 'o', loss_type: 'epsilon_dpo', dtype, ...keys }).map(([k, v]) => [k, String(v)]));
      t.doesNotThrow(() => loadConfig({ file: undefined, flags, env: {}, command: 'train' }), `${name}, ${dtype}`);
    }
  }
  t.end();
});

t.test('more rows take more, checkpointing and adapters less; weights do not depend on rows', async (t) => {
  for (const name of ['google/gemma-2-2b-it', 'mistralai/Mistral-7B-Instruct-v0.2', 'meta-llama/Meta-Llama-3-8B-Instruct']) {
    const table = planTable(spec(name), config, SETUPS, [1024, 4096]);
    for (const { name: setup } of SETUPS) {
      t.ok(at(table, setup, 1024).memory.total < at(table, setup, 4096).memory.total);
      t.ok(at(table, setup, 4096).memory.total < at(table, setup, 4096, false).memory.total);
      t.equal(at(table, setup, 1024).memory.parts['weights'], at(table, setup, 4096).memory.parts['weights']);
    }
    t.ok(at(table, 'LoRA', 4096).memory.total < at(table, 'full', 4096).memory.total / 2, name);
  }
});

t.test('the cheapest changes at real sizes: each fits, none holds a change it could do without, newer options among them', async (t) => {
  const model = spec('mistralai/Mistral-7B-Instruct-v0.2');
  const seen = new Set<string>();
  for (const [gb, flags] of [[141, { token_budget: '8192' }], [141, { ref_mode: 'live' }], [80, {}], [40, { use_peft: 'true' }], [24, { use_peft: 'true', ref_mode: 'live' }], [6, {}]] as Array<[number, Record<string, string>]>) {
    const given = { model_name_or_path: 'x', loss_type: 'epsilon_dpo', lora_target_modules: 'all-linear', token_budget: '4096', ...flags };
    const bytes = (over: Record<string, string>): number => {
      const c = loadConfig({ file: undefined, flags: { ...given, ...over }, env: {}, command: 'plan' }).config;
      return trainingMemory(model, lossOf(c), c, adaptersOf(model, c)).total;
    };
    const c = loadConfig({ file: undefined, flags: given, env: {}, command: 'plan' }).config;
    const { fits, least } = cheapestChanges({ spec: model, loss: lossOf(c), config: c, lora: adaptersOf(model, c), longest: 1500 }, gb * 1e9);
    t.comment(`${gb} GB: ${fits.slice(0, 3).map((f) => `${f.flags} (${(f.total / 1e9).toFixed(1)})`).join(' | ')}; least ${(least.total / 1e9).toFixed(1)}`);
    t.ok(bytes({}) > gb * 1e9, 'it does not fit as it is');
    const asked = (flags: string): Array<[string, string]> => [...flags.matchAll(/--(\w+) (\S+)/g)].map((m) => [m[1]!, m[2]!]);
    for (const f of fits) {
      const changes = asked(f.flags);
      for (const [key] of changes) seen.add(key);
      t.equal(bytes(Object.fromEntries(changes)), f.total, 'the plan of these flags');
      t.ok(f.total <= gb * 1e9, f.flags);
      for (const [key] of changes) {
        const fewer = changes.filter(([k]) => k !== key);
        // Quantised or rounded weights are frozen ones: without adapters there are none. Double quantisation belongs to 4 bits.
        if (['use_peft', 'load_in_4bit', 'use_bnb_nested_quant', 'gradient_checkpointing_granularity'].includes(key) || (key === 'gradient_checkpointing' && f.flags.includes('granularity'))) continue;
        t.ok(bytes(Object.fromEntries(fewer)) > gb * 1e9, `${f.flags} needs ${key}`);
      }
    }
    // 6 GB are below the least.
    if (gb > 6) t.ok(fits.length >= 3, `${gb} GB: ${fits.length}`);
    else t.same([fits.length, least.total > 6e9], [0, true]);
    t.equal(bytes(Object.fromEntries(asked(least.flags))), least.total);
  }
  for (const key of ['ref_mode', 'token_budget', 'gradient_checkpointing', 'optim', 'load_in_8bit', 'load_in_4bit', 'use_peft']) t.ok(seen.has(key), key);
});

t.test('what the table plans is what is allocated, to 3 %: every setup, the targets’ models scaled down', async (t) => {
  const gpu = await testGpu();
  const rows = 512;
  const small = { hidden_size: 96, intermediate_size: 256, head_dim: 16, num_attention_heads: 6, num_key_value_heads: 2, num_hidden_layers: 3, vocab_size: 3000 };
  for (const name of ['google/gemma-2-2b-it', 'meta-llama/Meta-Llama-3-8B-Instruct']) {
    const spec = modelSpec({ ...PUBLISHED[name]!.config, ...small }, name);
    for (const setup of SETUPS) {
      const c: RunConfig = { ...config, ...setup.keys };
      const storage = frozenStorage(c, { spec, formatOf: () => spec.storedFormat ?? 'F32' });
      const before = gpu.bytesNow;
      const policy = new Parameters(gpu, spec, !c.use_peft, 'policy', undefined, c.use_peft ? storage : trainedStorage(c));
      const head = spec.tied ? spec.names.embed : spec.names.head;
      const reference = c.use_peft ? policy : new Parameters(gpu, spec, false, 'reference', parameterSpecs(spec).filter((p) => p.name === head), storage);
      const trained = c.use_peft ? policy.with(new Adapters(gpu, spec, loraSettings(spec, c), true)) : policy;
      const engine = await makeEngine(gpu, trained, 'epsilon_dpo', { kind: 'cache', head: reference, rounded: false }, {
        rows, capacity: { rows, sequences: 128 }, gradientCheckpointing: true, optimiser: optimisers[c.optim], optimiserSettings: optimiserSettings(c),
      });
      const got = gpu.bytesNow - before;
      // The table plans for a hardware adapter, whose head takes wider tiles: of the policy's logits and of the reference's.
      const wider = Math.min(headWidth(rows, true), spec.V) - engine.head.width;
      const planned = at(planTable(spec, config, [setup], [rows]), setup.name, rows).memory.total - 2 * rows * wider * 4;
      t.ok(Math.abs(got / planned - 1) < 0.03, `${name}, ${setup.name}: planned ${planned}, allocated ${got}`);
      t.comment(`${name}, ${setup.name}: allocated ${((100 * got) / planned).toFixed(2)} % of the plan`);
    }
  }
});
