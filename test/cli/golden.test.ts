import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SafetensorsFile, writeSafetensors } from '../../src/model/files/safetensors.js';
import { edpo } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-golden-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

type Line = Record<string, number>;
const lines = (path: string): Line[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
const reference = (): string => sharedData('models', 'stories260K', 'hf');
const policy = (): string => sharedData('models', 'stories260K-nudged', 'hf');
interface Golden { beta: number; epsilon: number; beta_after_harmonic: number; beta_after_arithmetic: number; rows: Line[] }

/**
 * Error in Δ that an f16 cache may have on this model, as a share of ε: Δ is ε times a sum of log-ratios and KLs (losses.md 1.4),
 * whose rounding does not depend on ε. Stated in docs/epsilon-dpo-precision.md.
 */
const F16_ERROR_PER_EPSILON = 0.015;
/**
 * The same in f32, as a share of ε. The golden figures are themselves up to 1.1e-4 of ε off what f64 logits give (5.5e-5 at ε = 0.5), PyTorch's f32 logits up to 2.6e-4
 * (scripts/check_delta.py).
 */
const F32_ERROR_PER_EPSILON = 2e-4;

function ok(t: Test, r: ReturnType<typeof edpo>): void {
  t.equal(r.code, 0, r.code === 0 ? 'exit 0' : r.err);
}

for (const name of ['helpful_b0.1_e0.01', 'harmless_b0.05_e0.02', 'helpful_b0.1_e0.5']) {
  realTest(`edpo eval on ${name}: live reference, f32 cache, f16 cache`, async (t) => {
    const golden = JSON.parse(readFileSync(sharedData('edpo-golden', `${name}.json`), 'utf8')) as Golden;
    const data = sharedData('edpo-golden', `${name}.tokenized.jsonl`);
    const base = ['--model_name_or_path', policy(), '--ref_model_name_or_path', reference(), '--dataset_name', data, '--loss_type', 'epsilon_dpo', '--beta', String(golden.beta), '--epsilon', String(golden.epsilon)];
    const ledgers: Record<string, Line[]> = {};
    for (const [kind, extra] of [['live', []], ['f32', ['--ref_cache', join(dir, `${name}-f32`)]], ['f16', ['--ref_cache', join(dir, `${name}-f16`), '--ref_cache_dtype', 'float16']]] as const) {
      const out = join(dir, `${name}-eval-${kind}`);
      if (kind !== 'live') ok(t, edpo(['precompute-ref', ...base.slice(0, 8), ...extra, '--token_budget', '1111']));
      ok(t, edpo(['eval', ...base, ...extra, '--output_dir', out]));
      ledgers[kind] = lines(join(out, 'pairs.ndjson'));
    }
    t.same(ledgers['f32'], ledgers['live'], 'a cache of another token budget gives the same ledger, to the last digit');
    const worst = (rows: Line[], key: string, relative = false): number => Math.max(...golden.rows.map((w, i) => Math.abs(rows[i]![key]! - w[key]!) / (relative ? Math.abs(w[key]!) : 1)));
    const live = ledgers['live']!;
    t.equal(live.length, 64);
    t.same(live.map((l) => l['epsilon_step']), golden.rows.map((w) => w['epsilon_step']), 'every ε-step');
    t.ok(worst(live, 'margin') < 1e-3, `margin off by ${worst(live, 'margin')}`);
    const f32 = F32_ERROR_PER_EPSILON * golden.epsilon;
    t.ok(worst(live, 'delta_plus') < f32 && worst(live, 'delta_minus') < f32, `of ${f32}, Δ off by ${worst(live, 'delta_plus')}, ${worst(live, 'delta_minus')}`);
    for (const key of ['kl_policy_ref_chosen', 'kl_policy_ref_rejected', 'kl_ref_policy_chosen', 'kl_ref_policy_rejected', 'entropy_chosen', 'entropy_rejected']) t.ok(worst(live, key, true) < 1e-4, `${key} off by ${worst(live, key, true)} relative`);
    for (const key of ['loss', 'loss_dpo', 'reward_chosen', 'reward_rejected', 'beta']) t.ok(worst(live, key) < 2e-4, `${key} off by ${worst(live, key)}`);
    const stated = F16_ERROR_PER_EPSILON * golden.epsilon;
    const f16 = ledgers['f16']!;
    const error = Math.max(worst(f16, 'delta_plus'), worst(f16, 'delta_minus'));
    t.ok(error < stated, `f16 cache: Δ off by ${error}, stated ${stated}`);
    const sure = golden.rows.map((w, i) => i).filter((i) => Math.min(Math.abs(golden.rows[i]!['delta_plus']!), Math.abs(golden.rows[i]!['delta_minus']!)) > stated);
    t.ok(sure.length > 50, `${sure.length} pairs above the stated error`);
    t.same(sure.map((i) => f16[i]!['epsilon_step']), sure.map((i) => golden.rows[i]!['epsilon_step']), 'every ε-step above the stated error');
  });

  if (name.endsWith('0.5')) continue;
  realTest(`β after one train step on ${name}, both rules`, async (t) => {
    const golden = JSON.parse(readFileSync(sharedData('edpo-golden', `${name}.json`), 'utf8')) as Golden;
    for (const rule of ['harmonic', 'arithmetic'] as const) {
      const out = join(dir, `${name}-${rule}`);
      ok(t, edpo(['train', '--model_name_or_path', policy(), '--ref_model_name_or_path', reference(), '--dataset_name', sharedData('edpo-golden', `${name}.tokenized.jsonl`), '--loss_type', 'epsilon_dpo', '--beta', String(golden.beta), '--epsilon', String(golden.epsilon),
        '--ref_cache', join(dir, `${name}-f32`), '--beta_update', rule, '--max_steps', '1', '--total_batch_size', '64', '--save_strategy', 'no', '--output_dir', out]));
      const { beta } = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { beta: number };
      const want = rule === 'harmonic' ? golden.beta_after_harmonic : golden.beta_after_arithmetic;
      t.ok(Math.abs(beta / want - 1) < 1e-6, `${rule}: ${beta} against ${want}`);
    }
  });
}

realTest('policy = reference: Δ is exactly 0 for 128 pairs at two budgets, f32 and f16; a gain moved by 2^-10 gives steps', async (t) => {
  const data = join(dir, 'both.jsonl');
  writeFileSync(data, ['helpful_b0.1_e0.01', 'harmless_b0.05_e0.02'].map((n) => readFileSync(sharedData('edpo-golden', `${n}.tokenized.jsonl`), 'utf8')).join(''));
  // Another copy with its own hash of nothing: no short cut on equal hashes exists, and none could help a moved weight.
  const moved = join(dir, 'moved');
  cpSync(reference(), moved, { recursive: true });
  const file = SafetensorsFile.open(join(reference(), 'model.safetensors'));
  await writeSafetensors(join(moved, 'model.safetensors'), [...file.tensors].map(([name, { shape }]) => ({
    name, dtype: 'F32' as const, shape,
    read: (first: number, rows: number) => {
      const values = file.readF32(name, first, rows);
      if (name === 'model.norm.weight' && first === 0) values[10] = Math.fround(values[10]! * (1 + 2 ** -10));
      return values;
    },
  })));
  file.close();
  for (const dtype of ['float32', 'float16']) {
    const cache = join(dir, `self-${dtype}`);
    const base = ['--ref_model_name_or_path', reference(), '--dataset_name', data, '--loss_type', 'epsilon_dpo', '--ref_cache', cache, '--ref_cache_dtype', dtype];
    ok(t, edpo(['precompute-ref', '--model_name_or_path', reference(), ...base, '--token_budget', '700']));
    ok(t, edpo(['eval', '--model_name_or_path', reference(), ...base, '--token_budget', '2048', '--output_dir', join(dir, `same-${dtype}`)]));
    const same = lines(join(dir, `same-${dtype}`, 'pairs.ndjson'));
    t.equal(same.length, 128);
    t.ok(same.every((l) => l['delta_plus'] === 0 && l['delta_minus'] === 0 && l['epsilon_step'] === 0 && l['margin'] === 0), `${dtype}: all ties`);
    if (dtype === 'float16') continue;
    ok(t, edpo(['eval', '--model_name_or_path', moved, ...base, '--output_dir', join(dir, `moved-${dtype}`)]));
    const steps = lines(join(dir, `moved-${dtype}`, 'pairs.ndjson')).filter((l) => l['epsilon_step'] !== 0).length;
    t.ok(steps >= 0.9 * 128, `${steps} of 128 pairs take a step`);
  }
});
