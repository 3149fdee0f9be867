import t, { type Test } from 'tap';
import { documentLoss, isCoupled, PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import type { GroupTensors } from '../../src/gpu/ops/group_stats.js';
import type { Gpu } from '../../src/gpu/device.js';
import type { DocumentScalars, LossDefinition, SideTerms } from '../../src/model/losses/types.js';
import { settings } from '../helpers/engine.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { casesOf, grouped, memberOf, scalars, UNIFORM } from './cases.js';
import { passes, throughGroup } from './walk_groups.js';

/** What holds for every loss of a folder, alone or composed. @param over parameters that are not at their defaults */
export function walkLoss(loss: LossDefinition, over: Record<string, number> = {}): void {
  t.test(`${loss.name}: gradients against finite differences, WGSL against TypeScript at extreme margins`, async (t) => {
    const gpu = await testGpu();
    const defaults = { ...Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value])), ...over };
    const variants = 'label_smoothing' in loss.params ? [defaults, { ...defaults, label_smoothing: 0.15 }] : [defaults];
    for (const p of variants) {
      const shared = new Map([0.01, 0.5].map((beta) => [beta, grouped(loss, { ...scalars(0.7, 0, beta) }, p).group?.shared.map(Math.fround)]));
      const cases = casesOf(loss).map((d) => grouped(loss, d, p, shared.get(d.beta)));
      for (const d of cases) finiteDifferences(t, loss, d, p);
      for (const beta of [0.01, 0.5]) await againstWgsl(t, gpu, loss, cases.filter((d) => d.beta === beta), p);
    }
  });
  if (!loss.group) return;
  t.test(`${loss.name}: the group’s statistics against TypeScript, and what becomes of its state`, async (t) => {
    const gpu = await testGpu();
    const p = Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value]));
    await passes(t, gpu, loss, p);
    if (!loss.group!.detached) throughGroup(t, loss, p);
  });
}

type Variable = 'a' | 'b' | 'klChosen' | 'klRejected' | 'prompt';

function finiteDifferences(t: Test, loss: LossDefinition, d: DocumentScalars, p: Record<string, number>): void {
  const g = loss.gradients(d, p);
  const step = 1e-4;
  const value = (key: Variable, by: number): number => loss.value({ ...d, [key]: (d[key] ?? 0) + by }, p);
  const slope = (key: Variable): number => (value(key, step) - value(key, -step)) / (2 * step);
  // The central difference's own error: a third derivative of order 1 times step² / 6, and the rounding of both values.
  const allowed = (want: number): number => 1e-6 * Math.max(1, Math.abs(want)) + (4e-16 * Math.abs(loss.value(d, p))) / step;
  const near = (got: number, key: Variable): boolean => Math.abs(got - slope(key)) < allowed(got);
  // A response's gradient may be part of another document's term, where a group is sorted: `throughGroup`.
  const second = loss.needs.branches === 2 && loss.group?.detached !== false;
  t.ok(near(g.c[0], 'a') && (!second || near(g.c[1], 'b')), `gradients at margin ${d.a - d.b}, β ${d.beta}, ${d.tokensRejected} tokens: ${g.c} against ${slope('a')}, ${slope('b')}`);
  const { klGradient } = loss.needs;
  t.ok(klGradient === 'both' ? near(g.k[0], 'klChosen') : g.k[0] === 0, 'k of the chosen side');
  t.ok(klGradient ? near(g.k[1], 'klRejected') : g.k[1] === 0, 'k of the rejected side');
  t.ok(near(g.prompt ?? 0, 'prompt'), 'c of the prompt');
}

/** Tensors of documents with these scalars, sequences of a document one after another. */
function tensors(gpu: Gpu, loss: LossDefinition, cases: DocumentScalars[]) {
  const K = loss.needs.branches;
  const all = loss.needs.scored === 'all';
  const mismatched = loss.group?.of === 'mismatched';
  const stride = K + (all ? 1 : 0) + (mismatched ? 1 : 0);
  const P = cases.length;
  const stats = new Float32Array(P * stride * 12);
  const starts = [0];
  const sequence = (q: number, logp: number, ref: number, kl: number, tokens: number): void => {
    stats.set([logp, ref, 0, 0, 0, kl], q * 12);
    starts.push(starts.at(-1)! + tokens);
  };
  cases.forEach((d, i) => {
    const q = i * stride;
    sequence(q, d.a, d.aRef, d.klChosen, d.tokensChosen);
    if (K === 2) sequence(q + 1, d.b, d.bRef, d.klRejected, d.tokensRejected);
    if (mismatched) sequence(q + K, memberOf(d, loss).a, memberOf(d, loss).aRef, 0, 5);
    if (all) sequence(q + stride - 1, d.prompt!, 0, 0, 9);
  });
  return { K, P, stride, Q: P * stride, stats, seqStart: upload(gpu, 'start', [P * stride + 1], Uint32Array.from(starts)) };
}

/** Rows of TERMS of cases with token terms, [Q, 8]. */
function termSums(cases: DocumentScalars[], loss: LossDefinition): Float32Array | undefined {
  if (!cases[0]!.terms) return undefined;
  const row = (logp: number, ref: number, kl: number, s: SideTerms): number[] => [logp, ref, kl, s.weight, s.klWeight, s.sharpness, s.refEntropy, 0];
  return Float32Array.from(cases.flatMap((d) => [
    ...row(d.a, d.aRef, d.klChosen, d.terms!.chosen), ...(loss.needs.branches === 2 ? row(d.b, d.bRef, d.klRejected, d.terms!.rejected) : []),
    ...(loss.needs.scored === 'all' ? row(d.prompt!, 0, 0, { weight: 9, klWeight: 9, sharpness: 0, refEntropy: 0 }) : []),
  ]));
}

async function againstWgsl(t: Test, gpu: Gpu, loss: LossDefinition, cases: DocumentScalars[], p: Record<string, number>): Promise<void> {
  // WGSL's exp may be wrong by 3 + 2 |x| ulp, and scores hold exponents up to 80.
  const relative = loss.name.includes('forward kl') || loss.name.includes('α-divergence') || loss.name.includes('alphapo') ? 4e-5 : 4e-6;
  const { beta } = cases[0]!;
  const { K, P, stride, Q, stats, seqStart } = tensors(gpu, loss, cases);
  const own = new Float32Array(P * 4);
  cases.forEach((d, i) => own.set(d.group?.own ?? [], i * 4));
  const state = new Float32Array(24);
  state.set(cases[0]!.group?.shared ?? [], 8);
  const group: GroupTensors | undefined = isCoupled(loss) ? {
    docInfo: upload(gpu, 'info', [P, 4], Float32Array.from(cases.flatMap((d, i) => [i, d.desirable ? 1 : 0, UNIFORM, d.weight ?? 1]))), table: output(gpu, 'table', [P, 8]),
    own: upload(gpu, 'own', [P, 4], own), state: upload(gpu, 'state', [24], state),
  } : undefined;
  // Sums of weighted tokens stand apart; the plain ones go to the ledger alone.
  const sums = termSums(cases, loss);
  const plain = upload(gpu, 'stats', [Q, 12], sums ? stats.map((x) => x - 1) : stats);
  const seqTerms = sums && upload(gpu, 'terms', [Q, 8], sums);
  const [coef, pairs, counts] = [output(gpu, 'coef', [Q, 2], 7), output(gpu, 'pairs', [P, 24]), upload(gpu, 'counts', [4], new Uint32Array(4))];
  await runOnce(gpu, (program) => documentLoss(program, { seqStats: plain, seqTerms, seqStart, betaState: upload(gpu, 'beta', [4], Float32Array.of(beta, 0, 0, 0)), coef, pairs, stepCounts: counts, group },
    { loss, settings: settings({ params: p }), hidden: false, vocab: 37 }), { invCount: 0.25, perToken: 1 / 8, training: 0, stride });
  const [c, table] = [await read(coef), await read(pairs)];
  cases.forEach((d, i) => {
    // What the kernel sees, rounded as it sees it.
    const exact = { ...d, a: Math.fround(d.a), b: Math.fround(d.b), beta: Math.fround(beta), ...(d.group ? { group: { own: d.group.own.map(Math.fround), shared: d.group.shared } } : {}) };
    const want = loss.value(exact, p);
    const g = loss.gradients(exact, p);
    const column = (key: (typeof PAIR_COLUMNS)[number]): number => table[i * 24 + PAIR_COLUMNS.indexOf(key)]!;
    t.equal(column('policy_logps_chosen'), Math.fround(exact.a - (sums ? 1 : 0)), 'the ledger has the plain sum');
    // The terms a value is made of may cancel, the squares of a margin magnify it: its size is what the rounding is relative to.
    const size = Math.max(1, Math.abs(want), (Math.abs(d.a) + Math.abs(d.b)) * Math.max(beta, Math.abs(g.c[0]), Math.abs(g.c[1])));
    t.ok(Math.abs(column('loss') - want) <= 1e-5 * size, `value ${column('loss')} against ${want}`);
    const near = (got: number, gradient: number): boolean => Math.abs(got - 0.25 * gradient) <= relative * Math.max(0.01, Math.abs(g.c[0]), Math.abs(g.c[1]));
    const at = i * stride * 2;
    t.ok(near(c[at]!, g.c[0]), `c ${c[at]} against ${0.25 * g.c[0]}`);
    if (K === 2) t.ok(near(c[at + 2]!, g.c[1]), `c of the rejected side ${c[at + 2]} against ${0.25 * g.c[1]}`);
    t.ok(near(c[at + 1]!, g.k[0]) && (K === 1 || near(c[at + 3]!, g.k[1])), 'k of both sides');
    for (let s = K; s < stride; s++) {
      const prompt = loss.needs.scored === 'all' && s === stride - 1;
      t.ok(prompt ? near(c[at + 2 * s]!, g.prompt ?? 0) : c[at + 2 * s] === 0, `${prompt ? 'c of the prompt' : 'a mismatched response has no gradient'}: ${c[at + 2 * s]}`);
      t.equal(c[at + 2 * s + 1], 0, 'and no k');
    }
    const reward = loss.reward?.value ?? ((logp: number, ref: number, _tokens: number, b: number) => b * (logp - ref));
    t.ok(Math.abs(column('reward_chosen') - reward(exact.a, d.aRef, d.tokensChosen, exact.beta)) <= 1e-6 * Math.max(1, Math.abs(d.a)), 'reward');
    if (loss.column) t.ok(Math.abs(column(loss.column.name === 'beta' ? 'beta' : 'column') - loss.column.value(exact, p)) <= 1e-5 * Math.max(1, Math.abs(loss.column.value(exact, p))), `column ${loss.column.name}`);
  });
}
