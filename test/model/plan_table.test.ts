import t from 'tap';
import type { RunConfig } from '../../src/config/keys.js';
import { loadConfig } from '../../src/config/load.js';
import { modelSpec } from '../../src/model/families/index.js';
import { adaptersOf } from '../../src/model/lora_run.js';
import { trainingMemory } from '../../src/model/memory_advice.js';
import { cheapestChanges } from '../../src/model/memory_changes.js';
import { lossOf } from '../../src/model/session.js';
import { planTable, SETUPS, type PlanRow } from '../../src/model/plan_table.js';
import { PUBLISHED } from './published_configs.js';

/** ε-DPO with every matrix adapted: more than DPO's log-probs and PEFT's default modules take. */
const config: RunConfig = loadConfig({ file: undefined, flags: { model_name_or_path: 'x', loss_type: 'epsilon_dpo', lora_target_modules: 'all-linear' }, env: {}, command: 'plan' }).config;
const spec = (name: string) => modelSpec(PUBLISHED[name]!.config, name);
const at = (table: PlanRow[], setup: string, rows: number, checkpointing = true): PlanRow => table.find((r) => r.setup === setup && r.rows === rows && r.checkpointing === checkpointing)!;

t.test('the targets at 4,096 rows with per-layer checkpointing, by plan arithmetic at real sizes', async (t) => {
  const gemma = planTable(spec('google/gemma-2-2b-it'), config);
  const under = (table: PlanRow[], setup: string, gb: number): void => {
    const { memory } = at(table, setup, 4096);
    t.ok(memory.total < gb * 1e9, `${setup}: ${(memory.total / 1e9).toFixed(2)} GB, allowed ${gb}`);
    t.comment(`${setup}: ${(memory.total / 1e9).toFixed(2)} GB of ${gb}`);
  };
  under(gemma, 'full', 48);
  under(gemma, 'full, 8-bit AdamW', 38);
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
        if (['use_peft', 'load_in_4bit', 'use_bnb_nested_quant'].includes(key)) continue;
        t.ok(bytes(Object.fromEntries(fewer)) > gb * 1e9, `${f.flags} needs ${key}`);
      }
    }
    // All weights in f32 with their gradients leave two ways to 80 GB; 6 GB are below the least.
    if (gb === 80) t.equal(fits.length, 2);
    else if (gb > 6) t.ok(fits.length >= 3, `${gb} GB: ${fits.length}`);
    else t.same([fits.length, least.total > 6e9], [0, true]);
    t.equal(bytes(Object.fromEntries(asked(least.flags))), least.total);
  }
  for (const key of ['ref_mode', 'token_budget', 'gradient_checkpointing', 'optim', 'load_in_8bit', 'load_in_4bit', 'use_peft']) t.ok(seen.has(key), key);
});
