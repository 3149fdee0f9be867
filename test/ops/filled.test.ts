import t from 'tap';
import { matrixTile } from '../../src/gpu/matrices.js';
import { filledWords } from '../../src/gpu/ops/filled.js';
import { Head } from '../../src/gpu/ops/head.js';
import { padded } from '../../src/gpu/ops/operand_layout.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { output, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { operandStore, SCALES, SLOTS } from '../helpers/operand_store.js';
import { normals } from '../helpers/rng.js';
import * as matmul from '../reference/matmul.js';

/*
 * Steps of the two products with the gradient of logits that read zeros alone are left out: not a bit may move, and a block counts as zeros exactly where f16 keeps nothing of it.
 * Rows of a sequence without a gradient (a hinge that is met) are zeros; of others most of the vocabulary is, where logits are far apart.
 */
const gpu = await testGpu();
const tile = matrixTile(gpu);
const [D, S, V, WIDTH] = [24, 21, 1100, 512];
const SCALE = SCALES[SLOTS.gradient]!;

if (typeof tile === 'string') t.pass(`no f16 matrices here: ${tile}`);
else {
  const [h, w] = [normals(3, S * D), normals(4, V * D, 4)];
  const labels = Uint32Array.from({ length: S }, (_, s) => (s * 131 + 7) % V);
  const seqOf = Uint32Array.from({ length: S }, (_, s) => Math.floor(s / 7));
  const CUTS = [0, 700, V];

  const backward = async (coef: Float32Array, skips: boolean) => {
    const pieces = CUTS.slice(0, -1).map((first, i) => upload(gpu, 'w', [CUTS[i + 1]! - first, D], w.slice(first * D, CUTS[i + 1]! * D)));
    const dPieces = pieces.map((p) => upload(gpu, 'dw', p.shape as number[], normals(9, (p.shape[0] as number) * D)));
    const store = operandStore(tile, pieces.map((piece, i) => ({ w: piece, dw: dPieces[i] })), S, WIDTH);
    if (!skips) gpu.without.add('head_tile_skip');
    const head = new Head({ gpu, S, D, V, mode: 'none', pieces, dPieces, rounded: false, bf16: false, width: WIDTH });
    const dHidden = output(gpu, 'dh', [S, D], 5);
    const t = { hidden: upload(gpu, 'hidden', [S, D], h), labels: upload(gpu, 'labels', [S], labels) };
    await runOnce(gpu, (p) => {
      store.pack(p, pieces);
      p.mixed(store, () => {
        head.forward(p, t);
        head.backward(p, { ...t, coef: upload(gpu, 'coef', [3, 2], coef), seqOf: upload(gpu, 'seq', [S], seqOf), dHidden });
      });
    }, { measureScales: 0 });
    gpu.without.delete('head_tile_skip');
    const found = head.tensors.find(({ label }) => label === 'head.filled');
    return { bits: (await Promise.all([dHidden, ...dPieces].map((x) => debugReadU32(x)))).map((x) => [...x]), flags: found ? [...(await debugReadU32(found))] : undefined };
  };
  const f = matmul.nt(h, w, S, D, V);
  /** |c (1[v = y] - π)| times the scale, of row s; in f64. */
  const gradient = (coef: ArrayLike<number>, s: number): number[] => {
    const row = Array.from({ length: V }, (_, v) => f[s * V + v]!);
    const top = Math.max(...row);
    const Z = row.reduce((n, z) => n + Math.exp(z - top), 0);
    return row.map((z, v) => Math.abs(coef[2 * seqOf[s]!]! * ((labels[s] === v ? 1 : 0) - Math.exp(z - top) / Z)) * SCALE);
  };

  for (const [name, coef] of [['a sequence of three has no gradient', [-0.7, 0, 0, 0, 0.4, 0]], ['none has', [0, 0, 0, 0, 0, 0]], ['all have', [0.3, 0, -0.2, 0, 1e-3, 0]], ['one is not a number', [0, 0, NaN, 0, 0, 0]]] as const) {
    t.test(`${name}: the same bits, and flags where f16 keeps something`, async (t) => {
      const [skipping, all] = await Promise.all([true, false].map((skips) => backward(Float32Array.from(coef), skips)));
      t.equal(all!.flags, undefined, 'without the path there are no flags');
      skipping!.bits.forEach((bits, i) => t.equal(bits.findIndex((b, j) => b !== all!.bits[i]![j]), -1, ['dHidden', 'dW, first piece', 'dW, second piece'][i]!));
      const rows = Array.from({ length: S }, (_, s) => gradient(coef, s));
      let [at, v0, seen, empty] = [0, 0, 0, 0];
      const wrong: string[] = [];
      for (const [i, end] of CUTS.slice(1).entries()) {
        for (let first = CUTS[i]!; first < end; first += WIDTH) {
          const count = Math.min(WIDTH, end - first);
          const { tn, words } = filledWords(S, count, tile);
          for (const [base, R, C] of [[0, tile.BM, tile.BK], [tn, tile.BK, tile.BM]] as const) {
            const across = padded(count, tile) / C;
            for (let r = 0; r * R < S; r++) for (let c = 0; c * C < count; c++) {
              const block = rows.slice(r * R, (r + 1) * R).flatMap((row) => row.slice(v0 + c * C, Math.min(v0 + (c + 1) * C, v0 + count)));
              const flag = skipping!.flags![at + base + r * across + c]!;
              // 2^-25 is halfway to the smallest number of f16; logits in f16 matrices are a few per cent off.
              const [some, nothing] = [block.some((g) => !(g < 2 ** -24)), block.every((g) => g < 2 ** -26)];
              if ((some || nothing) && flag !== (some ? 1 : 0)) wrong.push(`${flag} for rows from ${r * R}, columns from ${v0 + c * C}`);
              seen += some ? 1 : 0;
              empty += nothing ? 1 : 0;
            }
          }
          [at, v0] = [at + words, v0 + count];
        }
      }
      t.same(wrong, [], 'flags');
      t.equal(at, skipping!.flags!.length);
      t.ok(name === 'none has' ? seen === 0 : seen > 0, `${seen} blocks with numbers`);
      t.ok(empty > 0, `${empty} blocks of zeros`);
    });
  }
}
