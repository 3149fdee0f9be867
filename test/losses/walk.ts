import t, { type Test } from 'tap';
import { documentLoss, isCoupled, PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { groupGather, groupStats, methodCommit, type GroupTensors } from '../../src/gpu/ops/group_stats.js';
import type { Gpu } from '../../src/gpu/device.js';
import { hasTerms, type DocumentScalars, type GroupMember, type LossDefinition, type SideTerms } from '../../src/model/losses/types.js';
import { settings } from '../helpers/engine.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';

export const scalars = (u: number, v: number, beta = 0.1): DocumentScalars => ({ a: u, b: v, aRef: 0, bRef: 0, tokensChosen: 7, tokensRejected: 11, beta, perToken: 1 / 8, klChosen: 0, klRejected: 0 });

const UNIFORM = 0.37;
const memberOf = (d: DocumentScalars, loss: LossDefinition): GroupMember => {
  const base = { desirable: d.desirable ?? true, uniform: UNIFORM };
  // Some other document's response, 0.9 above the reference's.
  return loss.group?.of === 'mismatched' ? { ...base, a: -11.1, aRef: -12, b: 0, bRef: 0 } : { ...base, a: d.a, aRef: d.aRef, b: d.b, bRef: d.bRef };
};

/** The document with what a group of it alone comes to; `shared` in place of its own, where given. */
export function grouped(loss: LossDefinition, d: DocumentScalars, p: Record<string, number>, shared?: number[]): DocumentScalars {
  if (!loss.group) return d;
  const result = loss.group.evaluate([memberOf(d, loss)], Object.values(loss.group.state), p, { beta: d.beta, training: true });
  return { ...d, group: { own: result.own[0]!, shared: shared ?? result.shared } };
}

/** Margins from a reference, and lengths that no ratio hides; a hinge's corner (βh = 1) is not among them. */
function casesOf(loss: LossDefinition): DocumentScalars[] {
  const cases: DocumentScalars[] = [];
  for (const h of [0, 1e-6, -1e-6, 0.7, -3, 51, -51, 1e4, -1e4]) {
    for (const beta of [0.01, 0.5]) {
      for (const [n, m] of [[7, 11], [1, 2000]] as const) {
        cases.push({
          ...scalars(h / 2 - 20, -h / 2 - 21.3, beta), aRef: -2, bRef: -2.5, tokensChosen: n, tokensRejected: m, klChosen: 1.25, klRejected: 3.5, desirable: loss.needs.unpaired ? n === 1 : true, ...(loss.needs.unpaired && n !== 1 ? { weight: 1.75 } : {}),
          ...(loss.needs.scored === 'all' ? { prompt: -33.5 } : {}),
          ...(hasTerms(loss.needs) ? { terms: { chosen: { weight: 0.7 * n, klWeight: 0.6 * n, sharpness: -0.3 * n, refEntropy: 1.1 * n }, rejected: { weight: 0.9 * m, klWeight: 0.8 * m, sharpness: 0.2 * m, refEntropy: 0.4 * m }, logVocab: Math.log(37) } } : {}),
        });
      }
    }
  }
  // Log-probs of a likelihood are below 0.
  return loss.needs.reference === 'none' && loss.needs.scored === 'all' ? cases.filter((d) => d.a < 0 && d.b < 0) : cases;
}

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

const random = (n: number, seed: number): GroupMember[] => {
  const r = rng(seed);
  // Whole numbers among them: equal values must keep their order.
  const number = (i: number): number => (i % 3 === 0 ? Math.round(-30 * r.uniform()) : Math.fround(-30 * r.uniform()));
  return Array.from({ length: n }, (_, i) => ({ a: number(i), aRef: number(i + 1), b: number(i), bRef: number(i + 1), desirable: r.uniform() < 0.5, uniform: Math.fround(0.01 + 0.98 * r.uniform()) }));
};

/** Groups of odd sizes one after another: each changes the state for the next; evaluation and a skipped step do not. */
async function passes(t: Test, gpu: Gpu, loss: LossDefinition, p: Record<string, number>): Promise<void> {
  const group = loss.group!;
  const K = loss.needs.branches;
  let want = Object.values(group.state);
  const start = new Float32Array(24);
  for (const at of [0, 16]) start.set(want, at);
  const state = upload(gpu, 'method_state', [24], start);
  const stepState = output(gpu, 'step_state', [16]);
  const betaState = upload(gpu, 'beta', [4], Float32Array.of(0.25, 0, 0, 0));
  for (const [n, training, skip] of [[1, true, false], [5, true, false], [67, true, true], [2, false, false], [67, true, false]] as const) {
    const members = random(n, n);
    const tables: GroupTensors = {
      docInfo: upload(gpu, 'info', [n, 4], Float32Array.from(members.flatMap((m, i) => [n - 1 - i, m.desirable ? 1 : 0, m.uniform, 1]))), table: output(gpu, 'table', [n, 8], 5), own: output(gpu, 'own', [n, 4]), state,
    };
    // Sequence 0 of each document is another one: the sums that count begin at `first`.
    const stats = new Float32Array(n * (K + 1) * 12);
    members.forEach((m, i) => [[m.a, m.aRef], [m.b, m.bRef]].slice(0, K).forEach((side, k) => stats.set(side, (i * (K + 1) + 1 + k) * 12)));
    await runOnce(gpu, (program) => {
      groupGather(program, { seqStats: upload(gpu, 'stats', [n * (K + 1), 12], stats), group: tables }, K);
      groupStats(program, { betaState, group: tables }, { loss, group, settings: settings({ params: p }) });
    }, { stride: K + 1, first: 1, G: n, training: training ? 1 : 0 });
    const result = group.evaluate([...members].reverse(), want, p, { beta: 0.25, training });
    const [own, got] = [await read(tables.own), await read(state)];
    const near = (x: number, y: number, what: string): void => void t.ok(Math.abs(x - y) <= 2e-5 * Math.max(1, Math.abs(y)), `${n} documents: ${what} ${x} against ${y}`);
    result.own.forEach((list, i) => list.forEach((x, k) => near(own[i * 4 + k]!, x, `own ${k} of ${i}`)));
    result.shared.forEach((x, k) => near(got[8 + k]!, x, `shared ${k}`));
    result.state.forEach((x, k) => near(got[k]!, x, `state ${k}`));
    if (!training) t.same(result.state, want, 'evaluation moves nothing');
    stepState.write(Float32Array.of(0, 0, skip ? 1 : 0));
    await runOnce(gpu, (program) => methodCommit(program, { stepState, group: tables }));
    const after = await read(state);
    t.same([...after.subarray(0, 8)], [...after.subarray(16)], 'settled');
    if (skip) want.forEach((x, k) => near(after[k]!, x, `after a skipped step, state ${k}`));
    else want = result.state;
  }
}

/** Sorting has a gradient: the loss of a whole group, made anew at each point. */
function throughGroup(t: Test, loss: LossDefinition, p: Record<string, number>): void {
  const members = random(7, 3).map((m, i) => ({ ...m, a: m.a + 0.031 * i, b: m.b - 0.017 * i, aRef: m.aRef + 0.013 * i, bRef: m.bRef }));
  const documents = (of: GroupMember[]): DocumentScalars[] => {
    const { own, shared } = loss.group!.evaluate(of, [], p, { beta: 0.3, training: true });
    return of.map((m, i) => ({ ...scalars(m.a, m.b, 0.3), aRef: m.aRef, bRef: m.bRef, group: { own: own[i]!, shared } }));
  };
  const total = (of: GroupMember[]): number => documents(of).reduce((s, d) => s + loss.value(d, p), 0);
  documents(members).forEach((d, i) => {
    (['a', 'b'] as const).forEach((key, side) => {
      const moved = (by: number): number => total(members.map((m, j) => (j === i ? { ...m, [key]: m[key] + by } : m)));
      const slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
      t.ok(Math.abs(slope - loss.gradients(d, p).c[side]!) < 1e-7, `document ${i}, ${key}: ${loss.gradients(d, p).c[side]} against ${slope}`);
    });
  });
}
