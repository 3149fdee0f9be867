import type { Test } from 'tap';
import { groupGather, groupStats, methodCommit, type GroupTensors } from '../../src/gpu/ops/group_stats.js';
import type { Gpu } from '../../src/gpu/device.js';
import type { DocumentScalars, GroupMember, LossDefinition } from '../../src/model/losses/types.js';
import { settings } from '../helpers/engine.js';
import { output, read, runOnce, upload } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { scalars } from './cases.js';

const random = (n: number, seed: number): GroupMember[] => {
  const r = rng(seed);
  // Whole numbers among them: equal values must keep their order.
  const number = (i: number): number => (i % 3 === 0 ? Math.round(-30 * r.uniform()) : Math.fround(-30 * r.uniform()));
  return Array.from({ length: n }, (_, i) => ({ a: number(i), aRef: number(i + 1), b: number(i), bRef: number(i + 1), desirable: r.uniform() < 0.5, uniform: Math.fround(0.01 + 0.98 * r.uniform()) }));
};

/** Groups of odd sizes one after another: each changes the state for the next; evaluation and a skipped step do not. */
export async function passes(t: Test, gpu: Gpu, loss: LossDefinition, p: Record<string, number>): Promise<void> {
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
export function throughGroup(t: Test, loss: LossDefinition, p: Record<string, number>): void {
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
