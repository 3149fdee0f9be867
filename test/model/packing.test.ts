import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { NESTED_SCALES } from '../../src/gpu/packed.js';
import { dynamicMap } from '../../src/model/packing/dynamic_map.js';
import { packInt8, unpackInt8 } from '../../src/model/packing/int8.js';
import { NF4, nf4Scales, packNf4, packScales, unpackNf4 } from '../../src/model/packing/nf4.js';

interface Nf4Case { packed: string; dequantised: string }
interface Case {
  rows: number; width: number; seed: number;
  nf4: Nf4Case & { absmax: string };
  nf4_double: Nf4Case & { codes: string; scales: string; offset: number; map: string };
  int8: Nf4Case & { absmax: string };
}
const golden = JSON.parse(readFileSync('test/goldens/packing.json', 'utf8')) as { unsigned_map: string; cases: Case[] };

/** As `values` of make_packing.py. */
function values({ rows, width, seed }: Case): Float32Array {
  let s = seed;
  const next = (): number => (s = (Math.imul(1664525, s) + 1013904223) >>> 0);
  const out = Float32Array.from({ length: rows * width }, () => ((next() + next() + next() + next()) / 2 ** 32 - 2) / 32);
  out[3] = 1.5;
  if (out.length > 400) out.fill(0, 128, 192);
  return out;
}
const floats = (text: string): Float32Array => new Float32Array(Uint8Array.from(Buffer.from(text, 'base64')).buffer);
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));
const sha = (a: ArrayBufferView, length = a.byteLength): string => createHash('sha256').update(new Uint8Array(a.buffer, a.byteOffset, length)).digest('hex');

t.test('the dynamic maps are bitsandbytes’, bit for bit', async (t) => {
  t.same([...dynamicMap(true)], [...floats(golden.cases[0]!.nf4_double.map)]);
  t.same([...dynamicMap(false)], [...floats(golden.unsigned_map)]);
});

for (const c of golden.cases) {
  const [w, n] = [values(c), c.rows * c.width];
  t.test(`nf4 of [${c.rows}, ${c.width}]: bytes, scales and values are bitsandbytes’`, async (t) => {
    const { words, absmax } = packNf4(w);
    t.equal(sha(words, Math.ceil(n / 2)), c.nf4.packed, 'packed bytes');
    t.same([...absmax], [...floats(c.nf4.absmax)], 'scales');
    t.equal(sha(unpackNf4(words, nf4Scales('nf4', absmax).scales, undefined, n)), c.nf4.dequantised, 'values');

    const want = c.nf4_double;
    t.equal(want.packed, c.nf4.packed, 'the packed bytes are the same');
    const nested = packScales(absmax, want.offset);
    t.same([...nested.codes], [...bytes(want.codes)], 'codes of the scales');
    t.same([...nested.scales], [...floats(want.scales)], 'scales of scales');
    const { scales, codes } = nf4Scales('nf4_double', absmax);
    t.same([...scales.subarray(0, NESTED_SCALES - 1)], [...NF4, ...floats(want.map)]);
    // The mean is rounded once here, and summed in f32 by torch.
    const offset = scales[NESTED_SCALES - 1]!;
    t.ok(Math.abs(offset / want.offset - 1) <= 2 ** -23, `mean ${offset}, ${want.offset}`);
    const theirs = scales.slice();
    theirs.set([want.offset, ...nested.scales], NESTED_SCALES - 1);
    const theirCodes = new Uint8Array(codes!.byteLength);
    theirCodes.set(nested.codes);
    const [a, b] = [unpackNf4(words, scales, codes, n), unpackNf4(words, theirs, new Uint32Array(theirCodes.buffer), n)];
    t.equal(sha(b), want.dequantised, 'values');
    const most = Math.max(...absmax);
    t.ok(a.every((v, i) => Math.abs(v - b[i]!) <= 2 ** -22 * most), 'values, with the mean of ours');
  });

  t.test(`int8 of [${c.rows}, ${c.width}]: rows are those of LLM.int8()`, async (t) => {
    const { words, absmax } = packInt8(w, c.width);
    t.equal(sha(words, n), c.int8.packed, 'bytes');
    t.same([...absmax], [...floats(c.int8.absmax)], 'scales');
    t.equal(sha(unpackInt8(words, absmax, n)), c.int8.dequantised, 'values');
  });
}
