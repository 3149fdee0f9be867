import t from 'tap';
import { matrixTile } from '../../src/gpu/matrices.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { WEIGHT_FORMATS, type PackedFormat } from '../../src/gpu/packed.js';
import type { Document } from '../../src/model/batch/pack.js';
import type { Engine } from '../../src/model/engine.js';
import type { ModelSpec } from '../../src/model/families/index.js';
import { adapterCount, adapterName, adapterParameters, Adapters, adapterSpecs, loraTargets, type LoraSettings } from '../../src/model/lora.js';
import { memoryPlan } from '../../src/model/memory.js';
import { DIRECT_ROWS } from '../../src/model/operand_sizes.js';
import { isLayerMatrix, type Storage } from '../../src/model/storage.js';
import { inMixed, loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

/*
 * Frozen weights in 4 to 16 bits in mixed precision: QLoRA and its kin, live references. Products read them as they are kept, or unpack them first; they have no f16 copy.
 */
const gpu = await testGpu();
const tile = matrixTile(gpu);
const PACKED = WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32');
const OPTIMISE = { lr: 5e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };
const column = (table: Float32Array, name: (typeof PAIR_COLUMNS)[number]): number[] => Array.from({ length: table.length / PAIR_COLUMNS.length }, (_, i) => table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf(name)]!);

/** Layers in this format, tables in it too where they may be, else in bf16: what `load_in_4bit` makes of a bf16 checkpoint. */
const storageOf = (spec: ModelSpec, format: PackedFormat): Storage => (p) => (p.shape.length !== 2 ? 'f32' : isLayerMatrix(spec, p) || format === 'f16' ? format : 'bf16');

/** A policy of adapters (B zero at the start) on a frozen base, its reference the base; ε-DPO. */
async function lora(spec: ModelSpec, format: PackedFormat, rows = 256): Promise<Engine> {
  const settings: LoraSettings = { r: 4, alpha: 8, rslora: false, targets: loraTargets(spec, ['all-linear']) };
  const base = await loadParameters(gpu, spec, tinyWeights(spec, 4), false, 'base', storageOf(spec, format));
  const values = Object.fromEntries(adapterSpecs(spec, settings).map((p, i) => [p.name, p.name.includes('lora_B') ? new Float32Array(p.shape[0]! * p.shape[1]!) : normals(i + 1, p.shape[0]! * p.shape[1]!, 0.1)]));
  const adapters = new Adapters(gpu, spec, settings, true);
  await adapters.load((weight, side) => values[adapterName(weight, side)]!);
  return makeEngine(gpu, base.with(adapters), 'epsilon_dpo', { kind: 'live', parameters: base }, { rows, capacity: { rows, sequences: 32 } });
}

const documents: Document[] = [
  { id: 0, prompt: [1, 5, 9], branches: [[4, 7, 2], [8, 3]] },
  { id: 1, prompt: [1, 6], branches: [[11, 2], [12, 13, 14, 2]] },
  { id: 2, prompt: [1, 2, 3, 4, 5], branches: [[6], [7, 8, 9]] },
];
async function steps(engine: Engine, count: number): Promise<Float32Array[]> {
  const tables: Float32Array[] = [];
  for (let i = 0; i < count; i++) {
    const read = engine.microBatch(documents, undefined, 1 / documents.length, true);
    await engine.optimise(OPTIMISE)();
    tables.push((await read()).table.slice());
  }
  return tables;
}
const lossOf = (table: Float32Array): number => column(table, 'loss').reduce((a, b) => a + b, 0) / documents.length;

if (typeof tile === 'string') {
  t.pass(`no matrices here: ${tile}`);
} else {
  // Rows of 40 are whole eights and no blocks of nf4; rows of 20 are neither.
  for (const spec of [tinySpec({ hidden_size: 40, intermediate_size: 56, head_dim: tile.MM }), tinySpec()]) {
    t.test(`width ${spec.D}: adapters on a frozen base in mixed precision: ties at the start, ten steps within 1 % of f32’s, the same bits by both ways`, async (t) => {
      for (const format of spec.D === 40 ? PACKED : (['nf4_double'] as const)) {
        const f32 = await steps(await lora(spec, format), 10);
        const engine = await inMixed(gpu, () => lora(spec, format));
        const labels = engine.dispatches(documents).map(({ label }) => label);
        t.ok(labels.some((l) => l.includes(`matmul.matrix_nt.${format}`)) && labels.some((l) => l.includes(`matmul.matrix_nn.${format}`)), 'both forms read the base as it is kept');
        t.notOk(labels.some((l) => /matmul\.(?!matrix)\w+_(f16|bf16|int8|nf4)/.test(l)), 'no product with the base is in f32');
        const mixed = await steps(engine, 10);
        t.ok(column(mixed[0]!, 'epsilon_step').every((x) => x === 0) && column(mixed[0]!, 'delta_plus').every((x) => x === 0) && column(mixed[0]!, 'delta_minus').every((x) => x === 0), `${format}: ties are exact with adapters of zero`);
        t.ok(column(mixed[9]!, 'epsilon_step').some((x) => x !== 0), 'and no longer after ten steps');
        const apart = Math.max(...f32.map((table, i) => Math.abs(lossOf(mixed[i]!) / lossOf(table) - 1)));
        t.ok(apart < 0.01 && apart > 0, `${format}: losses differ by at most ${(100 * apart).toFixed(4)} %: ${lossOf(f32[0]!)} to ${lossOf(f32[9]!)}`);

        gpu.without.add('quantised_operands');
        try {
          const unpacked = await inMixed(gpu, () => lora(spec, format));
          const others = unpacked.dispatches(documents).map(({ label }) => label);
          t.ok(others.some((l) => l.includes(`pack_f16_vec4.${format}`)) && !others.some((l) => /matmul\.matrix_\w+\./.test(l)), 'each is unpacked first');
          t.same(await steps(unpacked, 10), mixed, `${format}: read as it is kept or unpacked first, the same bits`);
        } finally {
          gpu.without.delete('quantised_operands');
        }
      }
    });
  }

  t.test('the plan is what is allocated, to 3 %, in every format, where weights are read as they are kept and where they are unpacked first', async (t) => {
    const spec = tinySpec({ vocab_size: 1500, hidden_size: 96, intermediate_size: 200, head_dim: 16 });
    const targets = loraTargets(spec, ['all-linear']);
    const parameters = adapterCount(spec, { r: 4, targets });
    const { list } = adapterParameters(spec, { r: 4, targets });
    for (const format of PACKED) {
      for (const rows of format === 'nf4_double' || format === 'f16' ? [128, DIRECT_ROWS + 64] : [128]) {
        const before = gpu.bytesNow;
        await inMixed(gpu, () => lora(spec, format, rows));
        const got = gpu.bytesNow - before;
        const storage = storageOf(spec, format);
        const plan = memoryPlan({ spec, rows, keep: 'train', reference: 'live', rounded: false, lora: { rank: 4, parameters, targets, list }, sharedReference: true, storage: { policy: storage, reference: storage }, mixed: tile });
        t.ok(Math.abs(got / plan.total - 1) < 0.03, `${format}, ${rows} rows: planned ${plan.total}, allocated ${got}`);
      }
    }
  });
}
