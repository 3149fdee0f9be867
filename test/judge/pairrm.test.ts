import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Program } from '../../src/gpu/program.js';
import { debugRead } from '../../src/gpu/readback.js';
import { DebertaEncoder } from '../../src/model/deberta/encoder.js';
import { logBucket, relativeRows } from '../../src/model/deberta/positions.js';
import { decode16, encode16 } from '../../src/model/files/float_formats.js';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { FrozenTensors } from '../../src/model/frozen_tensors.js';
import { comparison } from '../../src/model/judge/pairrm/conversation.js';
import { BACKBONE, openPairRmFolder } from '../../src/model/judge/pairrm/folder.js';
import { PairInputs } from '../../src/model/judge/pairrm/inputs.js';
import { PairScorer, type PairScore } from '../../src/model/judge/pairrm/scorer.js';
import type { Question } from '../../src/model/judge/types.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';
import { testGpu } from '../helpers/gpu.js';
import { golden, MODELS, pairRmFolder, pairRmWeights, writeWeights, type Stored } from '../helpers/pairrm_folder.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-pairrm-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const pairInput = (p: { ids: number[]; source: number; first: number; second: number }) => ({ ...p, truncated: false });
const worst = (a: ArrayLike<number>, b: ArrayLike<number>): number => Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i]!)));

t.test('log buckets equal transformers’ table, every entry', async (t) => {
  for (const { buckets, max, runs } of golden.buckets) {
    const want = runs.flatMap(([bucket, n]) => new Array<number>(n).fill(bucket));
    const got = want.map((_, i) => logBucket(i - golden.far, buckets, max));
    t.strictSame(got.map((v) => v + 0), want, `${buckets} buckets to ${max}`);
    t.strictSame([...relativeRows(golden.far + 1, buckets, max)], want.map((v) => Math.min(2 * buckets - 1, Math.max(0, v + buckets))), 'as rows of the relative embeddings');
  }
});

t.test('hidden states and scores equal transformers’; neither batch mates nor order nor budget change a bit', async (t) => {
  const gpu = await testGpu();
  t.comment('model | hidden states, worst (allowed 1e-4) | scores, worst (allowed 1e-4) | bucket entries off (allowed 0)');
  for (const [m, name] of MODELS.entries()) {
    const model = golden.models[name]!;
    const folder = openPairRmFolder(await pairRmFolder(join(dir, `model${m}`), name, { ranker: m === 1 }));
    const { spec } = folder;
    const weights = await FrozenTensors.load(gpu, folder.tensors, 'test', folder.read);
    const rows = model.hidden.reduce((n, h) => n + h.ids.length, 0);
    const encoder = await DebertaEncoder.open(gpu, spec, weights, BACKBONE, rows);
    const program = new Program(gpu, 'test');
    encoder.record(program);
    const { starts, values } = encoder.write(model.hidden.map((h) => h.ids));
    await program.submit(values);
    const states = await debugRead(encoder.states);
    const offs = model.hidden.map((h, i) => Math.max(...h.rows.map((r, n) => worst(states.subarray((starts[i]! + r) * spec.D, (starts[i]! + r + 1) * spec.D), h.states[n]!))));
    offs.forEach((off, i) => t.ok(off <= 1e-4, `${name}, ${model.hidden[i]!.ids.length} tokens: ${off}`));

    const all = model.pairs.map(pairInput);
    const scorer = await PairScorer.open(gpu, folder, 256);
    const scores = await scorer.score(all);
    const off = Math.max(...model.pairs.map((p, i) => Math.max(Math.abs(p.left - scores[i]!.left), Math.abs(p.right - scores[i]!.right))));
    t.ok(off <= 1e-4, `${name}: scores ${off}`);
    const bits = (s: PairScore[]): number[] => s.flatMap(({ left, right }) => [left, right]);
    t.same(bits((await scorer.score([...all].reverse())).reverse()), bits(scores), 'in reverse order');
    const alone = await PairScorer.open(gpu, folder, Math.max(...all.map((p) => p.ids.length)));
    t.same(bits(await alone.score(all)), bits(scores), 'at a budget for one at a time');
    for (const [i, p] of all.entries()) t.same(bits(await scorer.score([p])), bits([scores[i]!]), 'alone');
    await t.rejects(alone.score([{ ...all[0]!, ids: new Array<number>(300).fill(1) }]), { message: /a comparison has 300 tokens, token_budget is/, exitCode: 2 });
    const { buckets, max, runs } = golden.buckets.find((b) => b.buckets === spec.buckets && b.max === spec.maxDistance)!;
    const table = runs.flatMap(([bucket, n]) => new Array<number>(n).fill(bucket));
    const wrong = table.filter((v, i) => v !== logBucket(i - golden.far, buckets, max)).length;
    t.comment(`${name} | ${Math.max(...offs).toExponential(1)} | ${off.toExponential(1)} | ${wrong} of ${table.length}`);
  }
});

t.test('weights in f16 and bf16 are read exactly; an index buffer is passed by', async (t) => {
  const gpu = await testGpu();
  const pairs = golden.models[MODELS[0]!]!.pairs.map(pairInput);
  const scores = async (path: string): Promise<PairScore[]> => (await PairScorer.open(gpu, openPairRmFolder(path), 256)).score(pairs);
  for (const dtype of ['F16', 'BF16'] as const) {
    const half = await pairRmFolder(join(dir, dtype));
    await writeWeights(half, pairRmWeights(MODELS[0]!), dtype);
    const file = SafetensorsFile.open(join(half, 'model.safetensors'));
    const whole = await pairRmFolder(join(dir, `${dtype}-as-f32`), MODELS[0], { edit: (tensors) => tensors.map((x) => ({ ...x, values: file.readF32(x.name) })) });
    t.same(await scores(half), await scores(whole));
    file.close();
  }
  const old = await pairRmFolder(join(dir, 'old'), MODELS[0], { edit: (tensors) => [...tensors, { name: 'pretrained_model.embeddings.position_ids', shape: [1, 32], values: new Float32Array(32) }] });
  // As transformers saved it: 64-bit integers.
  const path = join(old, 'model.safetensors');
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { dtype: string; shape: number[] }>;
  Object.assign(header['pretrained_model.embeddings.position_ids']!, { dtype: 'I64', shape: [1, 16] });
  const text = Buffer.from(JSON.stringify(header).padEnd(length));
  t.equal(text.length, length);
  writeFileSync(path, Buffer.concat([bytes.subarray(0, 8), text, bytes.subarray(8 + length)]));
  t.same(await scores(old), await scores(await pairRmFolder(join(dir, 'new'))));
});

t.test('judge_dtype float16: matrices in half the memory, scores to the bit those of the rounded weights in f32', async (t) => {
  const gpu = await testGpu();
  for (const name of MODELS) {
    const pairs = golden.models[name]!.pairs.map(pairInput);
    const packs = (x: Stored): boolean => x.shape.length === 2 && !x.name.includes('embeddings');
    const round = (x: Stored): Stored => (packs(x) ? { ...x, values: decode16(encode16(x.values, 'F16'), 'F16') } : x);
    const plain = openPairRmFolder(await pairRmFolder(join(dir, 'wide'), name));
    const before = gpu.bytesNow;
    const want = await (await PairScorer.open(gpu, openPairRmFolder(await pairRmFolder(join(dir, 'rounded'), name, { edit: (all) => all.map(round) })), 256)).score(pairs);
    const middle = gpu.bytesNow;
    const half = await PairScorer.open(gpu, plain, 256, 'float16');
    const buffer = (bytes: number): number => Math.ceil(bytes / 16) * 16;
    const less = pairRmWeights(name).filter(packs).reduce((n, { values: { length } }) => n + buffer(4 * length) - buffer(2 * length), 0);
    t.equal(middle - before - (gpu.bytesNow - middle), less, `${name}: two bytes less a weight, each buffer a multiple of 16`);
    t.same(await half.score(pairs), want, name);
  }
  const large = openPairRmFolder(await pairRmFolder(join(dir, 'large'), MODELS[0], { edit: (all) => all.map((x, i) => (i === all.findIndex((y) => y.name.endsWith('query_proj.weight')) ? { ...x, values: x.values.map(() => 7e4) } : x)) }));
  await t.rejects(PairScorer.open(gpu, large, 256, 'float16'), { message: /query_proj\.weight holds 70000, which float16 cannot/, exitCode: 2 });
});

t.test('inputs equal transformers’ tokenize_pair: pieces, budgets, right truncation; tokens are found by name', async (t) => {
  const path = await pairRmFolder(join(dir, 'inputs'));
  const inputs = new PairInputs(await loadTokenizer(path), golden.limits, 45, path);
  for (const { source, a, b, ids, lengths } of golden.texts) {
    const pair = inputs.pair(source, a, b);
    t.strictSame(pair.ids, ids, `${source} | ${a} | ${b}`);
    t.strictSame([pair.source, pair.first, pair.second], [1, lengths[0]! + 1, lengths[0]! + lengths[1]! + 1]);
    t.ok(pair.ids.length <= 36);
  }
  t.strictSame(golden.texts.map((x) => inputs.pair(x.source, x.a, x.b).truncated), golden.texts.map((x) => x.truncated), 'what was cut is known');
  t.strictSame(inputs.pair('a[SEP]b', 'hi[SEP]', '').ids, inputs.pair('a b', 'hi ', '').ids, 'a literal [SEP] is a space');
  // The prefixes in added_tokens.json alone, under other ids.
  const { tokenizer } = golden.tokenizer;
  const added = tokenizer['added_tokens'] as Array<{ content: string }>;
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify({ ...tokenizer, added_tokens: added.filter((x) => !x.content.startsWith('<|')) }));
  await t.rejects(async () => new PairInputs(await loadTokenizer(path), golden.limits, 45, path), /the tokenizer has no token <\|source\|>/);
  writeFileSync(join(path, 'added_tokens.json'), JSON.stringify({ '[MASK]': 38, '<|source|>': 42, '<|candidate1|>': 39, '<|candidate2|>': 41, '<|candidate|>': 40 }));
  const moved = new PairInputs(await loadTokenizer(path), golden.limits, 45, path).pair('hello!', 'hi!', 'o');
  t.strictSame([moved.source, moved.first, moved.second].map((at) => moved.ids[at]), [42, 39, 41]);
  await t.rejects(async () => new PairInputs(await loadTokenizer(path), golden.limits, 40, path), /the tokenizer gives <\|source\|> the id 42, the model has 40 embeddings/);
});

t.test('a comparison’s texts: one turn raw, several as compare_conversations', async (t) => {
  const q = { id: '0', prompt: 'user: hi', a: 'A', b: 'B' };
  t.same(comparison(q), { source: 'user: hi', a: 'A', b: 'B' });
  t.same(comparison({ ...q, turns: [{ role: 'user', content: 'hi' }] }), { source: 'hi', a: 'A', b: 'B' });
  t.same(comparison({ ...q, turns: [{ role: 'system', content: 'Be kind.' }, { role: 'user', content: 'hi' }] }), { source: 'Be kind.\nhi', a: 'A', b: 'B' });
  const source = 'Finish the following coversation in each i-th turn by filling in <Response i> with your response.USER: hi\nAssistant: <Response 1>\nUSER: why?\nAssistant: <Response 2>';
  t.same(comparison({ ...q, turns: [{ role: 'user', content: 'hi' }, { role: 'assistant', content: 'hello' }, { role: 'user', content: 'why?' }] }), { source, a: '<Response 1>: hello\n<Response 2>: A', b: '<Response 1>: hello\n<Response 2>: B' });
  t.same(comparison({ ...q, prompt: 'why?', earlier: [{ prompt: 'hi', a: 'one', b: 'other' }] } as Question), { source, a: '<Response 1>: one\n<Response 2>: A', b: '<Response 1>: other\n<Response 2>: B' });
  for (const turns of [[], [{ role: 'assistant', content: 'x' }], [{ role: 'user', content: 'x' }, { role: 'assistant', content: 'y' }], [{ role: 'user', content: 'x' }, { role: 'user', content: 'y' }, { role: 'user', content: 'z' }]] as Array<NonNullable<Question['turns']>>) {
    t.equal(comparison({ ...q, turns }), undefined);
  }
});
