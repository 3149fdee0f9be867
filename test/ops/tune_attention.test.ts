import t from 'tap';
import { matrixTile, tileFor } from '../../src/gpu/matrices.js';
import { attentionRefusal, attentionTile, type AttentionTile } from '../../src/gpu/ops/attention_matrix_tile.js';
import type { AttentionPass } from '../../src/gpu/ops/attention_tiles.js';
import { ATTENTION_PASSES, attentionCandidates, attentionName, HEADS, timeAttention } from '../../src/gpu/tune_attention.js';
import { pack } from '../../src/model/batch/pack.js';
import { doc } from '../helpers/attention_case.js';
import { compute, given, type Case } from '../helpers/attention_matrix.js';
import { testGpu } from '../helpers/gpu.js';

/* The tiles of attention that `edpo doctor --tune` may choose among: no bit depends on which. */
const gpu = await testGpu();
const found = matrixTile(gpu);

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  // On a processor matrices are 8 x 8 x 8 with 8 lanes; a tile that tuning on a card would try is refused or not by the same rule.
  const { limits } = gpu;
  const C = 32;
  const usual = (pass: AttentionPass): AttentionTile => attentionTile(pass, C, found, limits);
  const tiles = (pass: AttentionPass): AttentionTile[] => [[1, 1], [2, 1], [1, 2], [2, 2]].flatMap(([WM, WN]) => [1, 2, 4].flatMap((down) => [1, 2, 4].map((across) => ({ ...usual(pass), BM: down * found.MM, BN: across * Math.max(found.MN, found.MK), WM: WM!, WN: WN!, REG: down % 2 }))));
  const c: Case = { H: 4, G: 2, C, docs: [doc(0, 70, 41, 3), doc(1, 5, 6), doc(2, 33, 2, 9)], window: 60, softCap: 20 };
  const N = pack(c.docs).values.N;
  const x = given(N, c);
  const OF = { fwd: ['o', 'lse'], dq: ['dq'], dkv: ['dk', 'dv'] } as const;

  t.test('every tile that is not refused has the usual one’s bits', async (t) => {
    const want = await compute(c, x);
    for (const pass of ATTENTION_PASSES) {
      const allowed = tiles(pass).filter((tile) => attentionRefusal(pass, C, found, tile, limits) === undefined && attentionName(tile) !== attentionName(usual(pass)));
      t.ok(allowed.length >= 2, `${pass}: ${allowed.map(attentionName).join(', ')}`);
      if (pass === 'dq') t.ok(allowed.some((tile) => tile.BN !== usual('dq').BN), 'blocks of other sizes among them');
      // Compiling takes a processor longest: the first, the last and two between.
      for (const tile of allowed.filter((_, i) => i % Math.ceil(allowed.length / 3) === 0 || i === allowed.length - 1)) {
        const got = await compute({ ...c, choice: { [pass]: tile } }, x);
        for (const name of OF[pass]) t.same(new Uint32Array(got[name].buffer), new Uint32Array(want[name].buffer), `${pass} ${attentionName(tile)}: ${name}`);
      }
    }
  });

  t.test('what would move bits or does not fit is refused, and why', async (t) => {
    const m = { MM: 16, MN: 16, MK: 16, SG: 32, BM: 128, BN: 128, BK: 32, WM: 2, WN: 2 };
    const card = { workgroupInvocations: 256, workgroupBytes: 48 << 10 };
    const of = (pass: AttentionPass, tile: Partial<AttentionTile>): string | undefined => attentionRefusal(pass, 64, m, { ...attentionTile(pass, 64, m, card), ...tile }, card);
    for (const pass of ATTENTION_PASSES) t.equal(of(pass, {}), undefined);
    t.equal(of('fwd', { BM: 32, WM: 2 }), undefined, 'two lanes a row as before');
    t.match(of('fwd', { BM: 32, WM: 2, WN: 2 }), /sums in another order than 64x64 for 4x1/, 'four');
    t.match(of('fwd', { BN: 32 }), /another order/);
    t.match(of('dkv', { BN: 16, BM: 32, WM: 2 }), /another order/);
    t.equal(of('dq', { BN: 16 }), undefined);
    t.match(of('dq', { BM: 48 }), /does not fit heads of 64/);
    t.match(attentionRefusal('dq', 64, m, { ...attentionTile('dq', 64, m, card), WN: 2 }, { ...card, workgroupInvocations: 128 }), /256 lanes are over the adapter's 128/);
    t.match(attentionRefusal('dq', 256, m, { BM: 64, BN: 64, WM: 4, WN: 1, PAD: 2, REG: 0 }, card), /bytes of workgroup memory are over/);
    t.match(attentionRefusal('dkv', 128, m, { BM: 64, BN: 32, WM: 4, WN: 1, PAD: 2, REG: 1 }, card), /a lane would keep \d+ numbers/);
  });

  t.test('what is tried on a card: the usual tile first, each once, for every width and pass', async (t) => {
    const card = Object.assign(Object.create(gpu) as typeof gpu, { kind: 'hardware', limits: { ...limits, workgroupInvocations: 1024, workgroupBytes: 48 << 10 } });
    const m = tileFor({ MM: 16, MN: 16, MK: 16, SG: 32 }, card.limits);
    for (const [, , width] of HEADS.hardware) for (const pass of ATTENTION_PASSES) {
      const names = attentionCandidates(card, pass, width, m).map(attentionName);
      t.equal(names[0], attentionName(attentionTile(pass, width, m, card.limits)));
      t.equal(new Set(names).size, names.length);
      t.ok(names.length >= 2 && names.length <= 24, `${pass} ${width}: ${names.length}`);
    }
    t.same(attentionCandidates(card, 'fwd', 6, m), [], 'heads that no matrix divides');
  });

  t.test('every pass is timed', async (t) => {
    for (const pass of ATTENTION_PASSES) for (const heads of HEADS.software) for (const tile of attentionCandidates(gpu, pass, heads[2], found).slice(0, 1)) t.ok((await timeAttention(gpu, pass, heads, tile, 1)) > 0, pass);
  });
}
