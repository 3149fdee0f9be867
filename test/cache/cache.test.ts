import { appendFileSync, copyFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { shardRange } from '../../src/model/cache/files.js';
import type { CacheHeader } from '../../src/model/cache/header.js';
import { requireSame } from '../../src/model/cache/header.js';
import { mergeShards } from '../../src/model/cache/merge.js';
import { CacheReader } from '../../src/model/cache/reader.js';
import { CacheWriter, type CachePair } from '../../src/model/cache/writer.js';
import { crc32c } from '../../src/model/files/crc32c.js';
import { decode, encode, encode16, f16BitsToF32, f32Bits, f32BitsToF16Bits, shortestF32 } from '../../src/model/files/float_formats.js';
import { normals, rng } from '../helpers/rng.js';

const WIDTH = 3;
const header = (over: Partial<CacheHeader> = {}): CacheHeader => ({
  format: 'edpo-ref-cache', version: 1, split: 'train', pairs: 7, weights: 'w', tokenizer: 't', template: '', data: 'd', max_length: 10, max_prompt_length: 5,
  truncation_mode: 'drop', tokenization: 'edpo', stores: 'hidden', hidden_dtype: 'float32', width: WIDTH,
  kernels: { adapter: 'a', driver: 'x', back_end: 'plain', arithmetic: 'float32', head_tile: 512, table_split: 0, shaders: '0123456789ab' }, ...over,
});
const pair = (i: number): CachePair => {
  const [c, j] = [1 + (i % 3), 2 + (i % 2)];
  return { id: i * 10, prompt: 4, chosen: normals(i, c, 5), rejected: normals(i + 50, j, 5), hidden: encode(normals(i + 99, (c + j) * WIDTH), 'F32') };
};
const fill = (dir: string, from = 0, o: Parameters<typeof CacheWriter.open>[2] = {}): void => {
  const writer = CacheWriter.open(dir, header(), { roll: 100, ...o });
  const [begin, end] = writer.range;
  for (let i = Math.max(from, begin + writer.done); i < end; i++) writer.append(pair(i));
  writer.close();
};
const bytes = (dir: string): Record<string, string> => Object.fromEntries(readdirSync(dir).sort().map((f) => [f, readFileSync(join(dir, f)).toString('hex')]));

t.test('formats: f16 rounding of every pattern and of ties, shortest decimals, CRC-32C', async (t) => {
  let wrong = 0;
  for (let h = 0; h < 65536; h++) {
    const x = f16BitsToF32(h);
    const back = f32BitsToF16Bits(f32Bits(x));
    if (Number.isNaN(x) ? !Number.isNaN(f16BitsToF32(back)) : back !== h) wrong++;
    if (h < 0x7bff) {
      // The point halfway to the next value goes to the even one; just past it goes up.
      const half = (x + f16BitsToF32(h + 1)) / 2;
      if (f32BitsToF16Bits(f32Bits(half)) !== (h & 1 ? h + 1 : h)) wrong++;
      if (f32BitsToF16Bits(f32Bits(half) + 1) !== h + 1 || f32BitsToF16Bits(f32Bits(half) - 1) !== h) wrong++;
    }
  }
  t.equal(wrong, 0);
  t.equal(f32BitsToF16Bits(f32Bits(70000)), 0x7c00);
  t.same([...decode(encode(Float32Array.of(1.5, -0.1), 'BF16'), 'BF16')], [1.5, -0.10009765625]);
  t.equal(encode16(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8), 'BF16').join(), [0x3f80, 0x3f82].join(), 'ties to even');
  const r = rng(3);
  for (let i = 0; i < 20000; i++) {
    const x = Math.fround(r.normal() * 10 ** (r.int(20) - 10));
    if (Math.fround(Number(shortestF32(x))) !== x) t.fail(`${x} does not come back from ${shortestF32(x)}`);
  }
  t.equal(shortestF32(Math.fround(0.1)), '0.1');
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});

t.test('written and read back, files rolled, numbers to the bit', async (t) => {
  const dir = t.testdir({});
  fill(dir);
  t.ok(readdirSync(dir).length > 2, 'several sidecars');
  const reader = CacheReader.open(dir, 'train')!;
  t.equal(reader.count, 7);
  for (let i = 0; i < 7; i++) {
    const line = reader.line(i);
    t.same([line.id, ...line.chosen_logps.map(Math.fround)], [i * 10, ...pair(i).chosen]);
    t.same(Buffer.from(reader.hiddenBytes(line)), Buffer.from(pair(i).hidden!));
  }
  reader.close();
});

t.test('cut at every byte of the last lines, and anywhere in a sidecar: resumed files are equal', async (t) => {
  const whole = t.testdir({ whole: {} });
  fill(join(whole, 'whole'));
  const want = bytes(join(whole, 'whole'));
  const size = readFileSync(join(whole, 'whole', 'ref.train.ndjson')).length;
  for (let cut = 0; cut < size; cut += cut < size - 400 ? 37 : 1) {
    const dir = join(whole, `cut${cut}`);
    mkdirSync(dir);
    for (const f of readdirSync(join(whole, 'whole'))) copyFileSync(join(whole, 'whole', f), join(dir, f));
    truncateSync(join(dir, 'ref.train.ndjson'), cut);
    fill(dir);
    if (JSON.stringify(bytes(dir)) !== JSON.stringify(want)) t.fail(`table cut at byte ${cut}`);
  }
  for (const f of Object.keys(want).filter((n) => n.endsWith('.bin'))) {
    const dir = join(whole, `side-${f}`);
    mkdirSync(dir);
    for (const g of readdirSync(join(whole, 'whole'))) copyFileSync(join(whole, 'whole', g), join(dir, g));
    if (f !== Object.keys(want).filter((n) => n.endsWith('.bin')).at(-1)) continue;
    truncateSync(join(dir, f), 5);
    const notes: string[] = [];
    fill(dir, 0, { note: (n) => notes.push(n) });
    t.same(bytes(dir), want, `sidecar ${f} cut`);
    t.match(notes.join(), /lost its hidden states/);
  }
  t.pass('all cuts');
});

t.test('shards, also interrupted ones, merge to the same bytes', async (t) => {
  const dir = t.testdir({ whole: {}, parts: {} });
  fill(join(dir, 'whole'));
  for (const index of [2, 0, 1]) fill(join(dir, 'parts'), 0, { shard: { index, of: 3 } });
  t.throws(() => mergeShards(join(dir, 'parts'), 'train', 4), /shard-0-of-4.ndjson is missing/);
  t.equal(mergeShards(join(dir, 'parts'), 'train', 3, { roll: 100 }), 7);
  t.same(bytes(join(dir, 'parts')), bytes(join(dir, 'whole')));
  t.same([0, 1, 2].map((index) => shardRange(7, { index, of: 3 })), [[0, 2], [2, 4], [4, 7]]);
});

t.test('a flipped byte, another model, a table that is no cache', async (t) => {
  const dir = t.testdir({});
  fill(dir);
  const path = join(dir, 'ref.train.hidden-00001.bin');
  const data = readFileSync(path);
  data[7]! ^= 4;
  writeFileSync(path, data);
  const reader = CacheReader.open(dir, 'train')!;
  const lines = Array.from({ length: 7 }, (_, i) => reader.line(i)).filter((l) => l.hidden!.file === 1);
  t.throws(() => lines.forEach((l) => reader.hiddenBytes(l)), /is damaged: pair \d+: hidden states in .*hidden-00001.bin at byte 0 have checksum/);
  reader.close();
  t.throws(() => CacheWriter.open(dir, header({ weights: 'other' })), /the weights of another reference model: weights is "w", this run has "other"/);
  t.throws(() => CacheWriter.open(dir, header({ kernels: { ...header().kernels, driver: 'y' } })), /begun on another driver/);
  t.same(requireSame(header(), header({ stores: 'logps', hidden_dtype: null }), 'x').kernels, [], 'more than needed is fine');
  appendFileSync(join(dir, 'ref.eval.ndjson'), '{"something":"else"}\n');
  t.equal(CacheReader.open(dir, 'eval'), undefined);
});

t.test('a log-prob that is not finite is refused with its pair, and never written', async (t) => {
  const dir = t.testdir({});
  const writer = CacheWriter.open(dir, header());
  t.throws(() => writer.append({ ...pair(3), chosen: Float32Array.of(-1, NaN) }), /pair 30 a log-prob that is not finite/);
  t.throws(() => writer.append({ ...pair(3), rejected: Float32Array.of(-Infinity) }), /pair 30/);
  t.equal(writer.done, 0);
  writer.close();
});
