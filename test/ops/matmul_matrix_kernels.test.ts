import t from 'tap';
import { sharedBytes, tileFor } from '../../src/gpu/matrices.js';
import { compileKernel } from '../../src/gpu/kernel.js';
import { filledKernels, formsOf, matrixKernels, matrixTune } from '../../src/gpu/ops/matmul_matrix_kernels.js';
import { sumKernels } from '../../src/gpu/ops/product_sum.js';
import { padding } from '../../src/gpu/ops/operand_layout.js';
import { resultOperands } from '../../src/gpu/ops/result_operand.js';
import { WEIGHT_FORMATS, type PackedFormat } from '../../src/gpu/packed.js';
import { nullGpu } from '../helpers/gpu.js';

const FROZEN = WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32');
const withFlags = [undefined, { format: 'nf4_double', by: 8 }].flatMap((of) => Object.values(filledKernels(of as Parameters<typeof filledKernels>[0])).map((k) => k[4]));
const withFrozen = FROZEN.flatMap((format) => (['nt', 'nt_add', 'nt_add_bias', 'nn', 'nn_acc'] as const).flatMap((form) => ([8, 1] as const).map((by) => formsOf(form, { format, by })[by === 8 ? 4 : 1])));
const results = Object.values(resultOperands);
const sums = Object.values(sumKernels).flatMap((k) => [k[1], k[4]]);

t.test('every form compiles for matrices of 16 x 16 x 16, 16 x 8 x 16 and 8 x 8 x 8 with 32 lanes', async (t) => {
  const none = await nullGpu();
  for (const [MM, MN, MK] of [[16, 16, 16], [16, 8, 16], [8, 8, 8]] as const) {
    const tile = tileFor({ MM, MN, MK, SG: 32 }, none.limits);
    t.same([tile.BM, tile.BN], [128, 128]);
    t.equal(tile.BK, 16, 'as much as the null backend’s workgroup memory holds');
    // A tile whose results do not divide among the lanes.
    const uneven = { ...tile, BM: 32, BN: 4 * MN, BK: 32, WM: 1, WN: 4 };
    for (const kernel of [matrixKernels.nt_add[4], matrixKernels.nt_add[1]]) await t.resolves(compileKernel(none, kernel, matrixTune(kernel, uneven)).pipeline, `${kernel.name}, EVEN ${matrixTune(kernel, uneven)['EVEN']}`);
    for (const kernel of [...Object.values(matrixKernels).flatMap((k) => [k[1], k[4]]), ...withFlags, ...sums, ...results, ...(MN === 16 ? withFrozen : [])]) await t.resolves(compileKernel(none, kernel, { ...matrixTune(kernel, tile), ...padding(tile) }).pipeline, `${kernel.name} ${MM}x${MN}x${MK}`);
  }
  none.close();
});

t.test('the tile of a GPU, 128 x 128 x 32, compiles up to the one thing the null backend has not: the workgroup memory, as much as the host counts', async (t) => {
  const none = await nullGpu();
  for (const [MM, MN, MK] of [[16, 16, 16], [16, 8, 16], [8, 8, 8]] as const) {
    const tile = tileFor({ MM, MN, MK, SG: 32 }, { ...none.limits, workgroupBytes: 48 << 10 });
    t.equal(tile.BK, 32);
    const most = sharedBytes(tile);
    for (const kernel of [...Object.values(matrixKernels).flatMap((k) => [k[1], k[4]]), ...withFlags, ...sums, ...results, ...(MN === 16 ? withFrozen : [])]) {
      const error = await compileKernel(none, kernel, { ...matrixTune(kernel, tile), ...padding(tile) }).pipeline.then(() => undefined, (e: Error) => e);
      const found = /total use of workgroup storage \((\d+) bytes\) is larger than the maximum allowed \(16384 bytes\)/.exec(error?.message ?? '');
      t.ok(found && Number(found[1]) <= most, `${kernel.name} ${MM}x${MN}x${MK}, ${most} bytes: ${error?.message.split('\n')[0]}`);
    }
  }
  none.close();
});
