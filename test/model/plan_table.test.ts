import t from 'tap';
import type { RunConfig } from '../../src/config/keys.js';
import { loadConfig } from '../../src/config/load.js';
import { modelSpec } from '../../src/model/families/index.js';
import { planTable, SETUPS, type PlanRow } from '../../src/model/plan_table.js';
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
  under(llama, 'LoRA', 24);
  under(llama, 'QLoRA', 12);
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
