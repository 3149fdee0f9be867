import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { documentListLoss } from '../../src/gpu/ops/document_list_loss.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import type { Document } from '../../src/model/batch/pack.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { losses, LOSS_NAMES } from '../../src/model/losses/index.js';
import type { ListBranch, LossDefinition } from '../../src/model/losses/types.js';
import { edpo, tinyFolder } from '../helpers/cli.js';
import { close } from '../helpers/close.js';
import { loadParameters, makeEngine, settings } from '../helpers/engine.js';
import { finiteDifference } from '../helpers/finite_diff.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

const r = rng(9);
/** Lists of 2 to 6 responses, the best first: any order of log-probs, equal scores, 1 to 2,000 tokens, margins of ±1e-6, ±50, ±1e4. */
const lists: ListBranch[][] = [
  [-9, -20], [-20, -9], [-1e-6, 0], [-50, -1, -100], [-1e4, -2, -1.1e4, -3], [-12, -12.5, -11, -30, -7], [-3, -4, -5, -6, -7, -8],
].map((logps) => logps.map((logp, i) => ({ logp, tokens: [7, 11, 1, 2000, 30, 5][i]!, score: [4, 3.5, 3.5, 1, 0, -2][i]! })));

for (const loss of LOSS_NAMES.map((name): LossDefinition => losses[name]).filter((l) => l.list)) {
  for (const over of [{}, { rrhf_length_penalty: 0.5 }, { rrhf_length_penalty: 0, rrhf_lambda: 0 }] as Array<Record<string, number>>) {
    t.test(`${loss.name} on lists, ${JSON.stringify(over)}: gradients against finite differences, WGSL against TypeScript, two responses as a pair`, async (t) => {
      const gpu = await testGpu();
      const p: Record<string, number> = { ...Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value])), ...over };
      for (const list of lists) {
        const g = loss.list!.gradients(list, p);
        const numeric = finiteDifference((x) => loss.list!.value(list.map((b, i) => ({ ...b, logp: x[i]! })), p), list.map((b) => b.logp), 1e-8);
        t.ok(g.every((x, i) => Math.abs(x - numeric[i]!) < 1e-3 * Math.max(1, Math.abs(x))), `${list.length} responses: ${g} against ${numeric}`);
      }
      for (const [a, b] of lists.filter((x) => x.length === 2) as Array<[ListBranch, ListBranch]>) {
        const d = { a: a.logp, b: b.logp, aRef: 0, bRef: 0, tokensChosen: a.tokens, tokensRejected: b.tokens, beta: 0.1, perToken: 0, klChosen: 0, klRejected: 0 };
        t.equal(loss.list!.value([a, b], p), loss.value(d, p));
        t.same(loss.list!.gradients([a, b], p).map((x) => x + 0), loss.gradients(d, p).c.map((x) => x + 0));
      }
      const all = lists.flat();
      const [P, Q] = [lists.length, all.length];
      const stats = new Float32Array(Q * 12);
      all.forEach((b, i) => (stats[i * 12] = b.logp));
      const running = (ns: number[]): Uint32Array => Uint32Array.from([0, ...ns.map((_, i) => ns.slice(0, i + 1).reduce((x, y) => x + y, 0))]);
      const [coef, pairs] = [output(gpu, 'coef', [Q, 2], 7), output(gpu, 'pairs', [P, 24], 7)];
      await runOnce(gpu, (program) => documentListLoss(program, {
        seqStats: upload(gpu, 'stats', [Q, 12], stats), seqStart: upload(gpu, 'start', [Q + 1], running(all.map((b) => b.tokens))), docStart: upload(gpu, 'docs', [P + 1], running(lists.map((l) => l.length))),
        scores: upload(gpu, 'scores', [Q], Float32Array.from(all, (b) => b.score)), coef, pairs,
      }, { loss, settings: settings({ params: p }) }), { invCount: 0.25 });
      const [c, table] = [await read(coef), await read(pairs)];
      let q = 0;
      lists.forEach((list, i) => {
        const rounded = list.map((b) => ({ ...b, logp: Math.fround(b.logp) }));
        const column = (key: (typeof PAIR_COLUMNS)[number]): number => table[i * 24 + PAIR_COLUMNS.indexOf(key)]!;
        const size = Math.max(1, ...list.map((b) => Math.abs(b.logp)));
        t.ok(Math.abs(column('loss') - loss.list!.value(rounded, p)) < 4e-6 * size * list.length, `value ${column('loss')} against ${loss.list!.value(rounded, p)}`);
        t.same([column('policy_logps_chosen'), column('policy_logps_rejected'), column('tokens_rejected')], [rounded[0]!.logp, rounded.at(-1)!.logp, list.at(-1)!.tokens], 'the ledger has the best and the last');
        for (const g of loss.list!.gradients(rounded, p)) {
          t.ok(Math.abs(c[q * 2]! - 0.25 * g) < 2e-6 * Math.max(1, Math.abs(g)) && c[q * 2 + 1] === 0, `c ${c[q * 2]} against ${0.25 * g}`);
          q++;
        }
      });
    });
  }
}

t.test('lists of different lengths: the same bits alone and packed, gradients to rounding', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
  const documents: Document[] = [[3, 5, 2], [4, 1, 7, 6, 2], [2, 3, 3]].map(([p, ...ns], id) => ({ id, prompt: tokens(p!), branches: ns.map(tokens), scores: ns.map((_, i) => -i) }));
  const loss: LossDefinition = { ...losses.rrhf, needs: { ...losses.rrhf.needs, list: true } };
  const run = async (groups: Document[][], rows: number): Promise<{ table: number[]; grads: Map<string, Float32Array> }> => {
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 4), true);
    const engine = await makeEngine(gpu, policy, loss, { kind: 'none' }, { rows, over: { params: { rrhf_lambda: 0.3, rrhf_length_penalty: 1 } } });
    const table: number[] = [];
    for (const g of groups) table.push(...(await engine.microBatch(g, undefined, 1 / 3, true)()).table);
    return { table, grads: new Map(await Promise.all(parameterSpecs(spec).map(async (p) => [p.name, await policy.read(p.name, 'grad')] as const))) };
  };
  const [whole, apart] = [await run([documents], 128), await run(documents.map((d) => [d]), 48)];
  t.same(apart.table, whole.table);
  for (const [name, g] of whole.grads) close(t, name, apart.grads.get(name)!, g, { atol: 2e-6, rtol: 1e-5, name: 'rounding' });
});

const dir = mkdtempSync(join(tmpdir(), 'edpo-lists-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
t.test('edpo train on lists: two responses give the ledger of pairs; more train; what cannot be ranked is refused', async (t) => {
  const model = await tinyFolder(join(dir, 'model'));
  const word = (): string => ` ${Array.from({ length: 2 + r.int(6) }, () => String.fromCharCode(97 + r.int(26))).join('')}`;
  const pairs = Array.from({ length: 8 }, () => ({ prompt: 'ab cd:', chosen: word(), rejected: word() }));
  const file = (name: string, list: object[]): string => {
    writeFileSync(join(dir, name), list.map((x) => JSON.stringify(x)).join('\n') + '\n');
    return join(dir, name);
  };
  const train = (name: string, list: object[], ...flags: string[]) =>
    edpo(['train', '--model_name_or_path', model, '--dataset_name', file(`${name}.jsonl`, list), '--loss_type', 'rrhf', '--total_batch_size', '4', '--max_steps', '3', '--learning_rate', '1e-3', '--warmup_ratio', '0', '--save_strategy', 'no', '--report_html', 'false', '--output_dir', join(dir, name), ...flags]);
  const ledger = (name: string): Array<Record<string, number>> => readFileSync(join(dir, name, 'pairs.ndjson'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
  for (const [name, list] of [['pairs', pairs], ['two', pairs.map((x) => ({ prompt: x.prompt, responses: [x.rejected, x.chosen], scores: [1, 2] }))], ['four', pairs.map((x) => ({ prompt: x.prompt, responses: [x.chosen, word(), x.rejected, word()], scores: [4, 0.5, 2, 0.5] }))]] as const) {
    const got = train(name, list as object[]);
    t.equal(got.code, 0, got.err);
  }
  // The reference's column of the loss at the starting β belongs to pairs.
  const plain = (name: string) => ledger(name).map(({ id, step, policy_logps_chosen, policy_logps_rejected, tokens_rejected, reward_chosen }) => ({ id, step, policy_logps_chosen, policy_logps_rejected, tokens_rejected, reward_chosen }));
  t.same(plain('two').slice(0, 4), plain('pairs').slice(0, 4), 'the first step, to the bit');
  t.ok(ledger('four').every((x) => Number.isFinite(x['loss'])));
  const refused = (name: string, list: object[], ...flags: string[]): string => {
    const got = train(name, list, ...flags);
    t.equal(got.code, 2, got.err);
    return got.err;
  };
  t.match(refused('one', [{ prompt: 'ab:', responses: [' c'], scores: [1] }]), /a list of one response: there is nothing to rank/);
  t.match(refused('equal', [{ prompt: 'ab:', responses: [' c', ' d'], scores: [1, 1] }]), /a list of equal scores/);
  t.match(refused('short', [{ prompt: 'ab:', responses: [' c', ' d'], scores: [1] }]), /1 scores for 2 responses/);
  t.match(refused('dpo', [{ prompt: 'ab:', responses: [' c', ' d'], scores: [1, 2] }], '--loss_type', 'sigmoid'), /a list of responses with scores, and the method does not rank lists/);
});
