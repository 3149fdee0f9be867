import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { deviation, near, stepper, type GoldenModel, type Projections } from '../helpers/one_step.js';

interface Case { name: string; reference: boolean; flags: Record<string, string | number>; metrics: Record<string, number>; gradients: Projections; used?: number; state?: [number, number]; kept?: number[]; after?: number }
interface Golden { versions: Record<string, string>; pairs: Array<{ prompt: number[]; chosen: number[]; rejected: number[] }>; cases: Case[] }
/** The official formulas through torch's autograd on full logits: test/goldens/make_official.py; the model is trl.json’s. */
const golden = JSON.parse(readFileSync('test/goldens/official.json', 'utf8')) as Golden;
const oneStep = await stepper(JSON.parse(readFileSync('test/goldens/trl.json', 'utf8')) as GoldenModel);

/** What edpo logs otherwise on purpose, and why. */
const DIFFERENT: Record<string, { why: string; not: string[] }> = Object.fromEntries(['TDPO1', 'TDPO2'].map((name) => [name, { why: 'the official code adds the sequence’s KL to the rewards it logs; edpo logs β log π/ref as for every method, and the KLs beside it', not: ['rewards/chosen', 'rewards/rejected', 'rewards/margins'] }]));

t.test('one optimiser step as the official formulas of SimPO, TDPO, β-DPO and ε-DPO make it', async (t) => {
  const rows = golden.pairs.map((p) => ({ prompt_ids: p.prompt, chosen_ids: p.chosen, rejected_ids: p.rejected }));
  for (const c of golden.cases) {
    const flags = Object.fromEntries(Object.entries(c.flags).map(([k, v]) => [k, String(v)]));
    const keeps = c.state !== undefined || c.after !== undefined;
    const { metrics, gradients, folder } = await oneStep(c.name, rows, rows.length, { ...flags, ...(keeps ? { save_strategy: 'steps', save_steps: '1' } : {}) }, c.reference);
    t.same(Object.keys(c.metrics).filter((k) => !(k in metrics)), [], `${c.name}: every metric is logged`);
    const worst = deviation(gradients, c.gradients);
    const wrong = [...Object.keys(c.metrics).filter((k) => !near(metrics[k]!, c.metrics[k]!)), ...(worst > 1e-4 ? ['gradients'] : [])];
    const { why, not } = DIFFERENT[c.name] ?? { why: `all figures, gradients to ${worst.toExponential(1)}`, not: [] };
    t.same(wrong.sort(), [...not].sort(), `${c.name}: ${why}${wrong.map((k) => `; ${k} ${k === 'gradients' ? worst : metrics[k]}, expected ${c.metrics[k]}`).join('')}`);
    if (not.length > 0) for (const side of ['chosen', 'rejected']) t.ok(near(metrics[`rewards/${side}`]! + Number(c.flags['beta']) * metrics[`kl/ref_policy_${side}`]!, c.metrics[`rewards/${side}`]!), `${c.name}: both together are the official rewards/${side}`);
    if (!keeps) continue;
    const state = JSON.parse(readFileSync(join(folder, 'checkpoint-1', 'edpo_state.json'), 'utf8')) as { beta: number; methodState?: number[] };
    if (c.after !== undefined) t.ok(Math.abs(state.beta / c.after - 1) < 1e-6, `${c.name}: β after the step ${state.beta}, expected ${c.after}`);
    if (!c.state) continue;
    t.ok(state.methodState?.length === 2 && c.state.every((x, i) => Math.abs(state.methodState![i]! - x) < 1e-6), `${c.name}: running mean and deviation after the step ${state.methodState?.join(', ')}, expected ${c.state.join(', ')}`);
    const pairs = readFileSync(join(folder, 'pairs.ndjson'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
    t.same(pairs.flatMap((p, i) => (p['loss'] === 0 ? [] : [i])), c.kept, `${c.name}: the pairs kept, drawn by weights that leave nothing to chance`);
    for (const p of pairs) t.ok(near(p['beta']!, c.used!, 0), `${c.name}: β of the batch ${p['beta']}, expected ${c.used}`);
  }
});
