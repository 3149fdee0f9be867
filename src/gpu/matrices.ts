import type { Gpu } from './device.js';

/** A product of subgroup matrices an adapter offers: [M, K] · [K, N] of `component`, accumulated in `result`. */
export interface MatrixConfig {
  component: string;
  result: string;
  M: number;
  N: number;
  K: number;
}

/** How a workgroup cuts a product: its tile BM x BN, inner steps of BK, WM x WN subgroups of SG lanes, matrices of MM x MN x MK. */
export interface MatrixTile {
  BM: number;
  BN: number;
  BK: number;
  WM: number;
  WN: number;
  SG: number;
  MM: number;
  MN: number;
  MK: number;
}

interface Reported { componentType: string; resultComponentType: string; M: number; N: number; K: number }

/** Everything the adapter lists; empty without the feature. */
export function matrixConfigs(gpu: Gpu): MatrixConfig[] {
  if (!gpu.features.has('chromium-experimental-subgroup-matrix')) return [];
  const listed = (gpu.info as GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<Reported> }).subgroupMatrixConfigs ?? [];
  return [...listed].map((c) => ({ component: c.componentType, result: c.resultComponentType, M: c.M, N: c.N, K: c.K }));
}

/** The lanes a subgroup of a matrix kernel has, or why that is not known. */
function lanes(gpu: Gpu): number | string {
  // Mesa's llvmpipe lists its matrices at every vector width and computes them at 8 lanes only.
  if (/llvmpipe/i.test(gpu.info.description) && gpu.subgroupMax !== 8) return `llvmpipe computes matrices with 8 lanes only, not ${gpu.subgroupMax}`;
  if (gpu.subgroupMin === gpu.subgroupMax) return gpu.subgroupMax;
  if (gpu.features.has('subgroup-size-control')) return Math.min(32, gpu.subgroupMax);
  return `its subgroups have ${gpu.subgroupMin} to ${gpu.subgroupMax} lanes and it offers no choice among them`;
}

const BY_PREFERENCE = [[16, 16, 16], [16, 8, 16], [16, 16, 8], [16, 8, 8], [8, 16, 16], [8, 8, 16], [8, 8, 8]];

/** As many as the gradients of attention, and of gate and up, bind. */
const MOST_BUFFERS = 10;

/** The f16 -> f32 configuration that products use on this adapter: matrices of MM x MN x MK by subgroups of SG lanes; or why there is none. */
export function matrixConfig(gpu: Gpu): Pick<MatrixTile, 'MM' | 'MN' | 'MK' | 'SG'> | string {
  if (!gpu.features.has('shader-f16')) return 'it has no shader-f16';
  const configs = matrixConfigs(gpu).filter((c) => c.component === 'f16' && c.result === 'f32');
  if (configs.length === 0) return 'it has no subgroup matrices of f16 with f32 sums';
  if (gpu.limits.storageBuffers < MOST_BUFFERS) return `it binds ${gpu.limits.storageBuffers} buffers, and kernels in matrices take up to ${MOST_BUFFERS}`;
  const SG = lanes(gpu);
  if (typeof SG === 'string') return SG;
  const found = BY_PREFERENCE.flatMap(([M, N, K]) => configs.filter((c) => c.M === M && c.N === N && c.K === K))[0];
  if (!found) return `none of its matrices (${configs.map((c) => `${c.M}x${c.N}x${c.K}`).join(', ')}) has a size the kernels know`;
  return { MM: found.M, MN: found.N, MK: found.K, SG };
}

/** That configuration with its tile, the tuned one (`edpo doctor --tune`) or the usual one. */
export function matrixTile(gpu: Gpu): MatrixTile | string {
  const config = matrixConfig(gpu);
  return typeof config === 'string' ? config : { ...tileFor(config, gpu.limits), ...gpu.tuned?.matrix };
}

/** Sums a lane may hold in registers: NVIDIA's own limit in its sample. */
const MOST_SUMS = 128;

/** Why a tile cannot be had within these limits, if it cannot: whole matrices, loads that divide evenly, registers, workgroup memory. */
export function matrixRefusal(t: MatrixTile, limits: { workgroupInvocations: number; workgroupBytes: number }): string | undefined {
  const WG = t.WM * t.WN * t.SG;
  if (t.BM % (t.WM * t.MM) !== 0 || t.BN % (t.WN * t.MN) !== 0 || t.BK % t.MK !== 0) return `a tile of ${t.BM}x${t.BN}x${t.BK} for ${t.WM}x${t.WN} subgroups is not made of matrices of ${t.MM}x${t.MN}x${t.MK}`;
  if ((t.BM * t.BK) / 8 % WG !== 0 || (t.BN * t.BK) / 8 % WG !== 0) return `${WG} lanes do not load a tile of ${t.BM}x${t.BN}x${t.BK} evenly`;
  if ((t.BM / t.WM / t.MM) * (t.BN / t.WN / t.MN) * ((t.MM * t.MN) / t.SG) > MOST_SUMS) return `a lane would hold more than ${MOST_SUMS} sums`;
  if (WG > limits.workgroupInvocations) return `${WG} lanes are over the adapter's ${limits.workgroupInvocations}`;
  if (sharedBytes(t) > limits.workgroupBytes) return `${sharedBytes(t)} bytes of workgroup memory are over the adapter's ${limits.workgroupBytes}`;
  return undefined;
}

/**
 * The largest of the usual tiles that the limits allow: 128 x 128 in four subgroups of 64 x 64 where subgroups have 32 lanes or more; a single
 * matrix where a processor plays the GPU: there a barrier is dear, and every matrix of the tile costs its driver a second of compiling.
 */
export function tileFor(m: Pick<MatrixTile, 'MM' | 'MN' | 'MK' | 'SG'>, limits: { workgroupInvocations: number; workgroupBytes: number }): MatrixTile {
  const choices = m.SG >= 16
    ? [{ BM: 128, BN: 128, BK: 32, WM: 2, WN: 2 }, { BM: 128, BN: 128, BK: 16, WM: 2, WN: 2 }, { BM: 64, BN: 64, BK: 32, WM: 2, WN: 2 }]
    : [{ BM: m.MM, BN: m.MN, BK: m.MK, WM: 1, WN: 1 }];
  return { ...m, ...(choices.find((c) => c.WM * c.WN * m.SG <= limits.workgroupInvocations && sharedBytes({ ...m, ...c }) <= limits.workgroupBytes) ?? choices.at(-1)!) };
}

/** Columns of the blocks in which packed operands of these tiles stand (lib/operand_layout.wgsl). */
export const blockOf = (t: MatrixTile): number => Math.min(16, t.BM, t.BN, t.BK);

/**
 * vec4s of a row of results in workgroup memory, a tile's columns and two more: rows that a subgroup's lanes write at once then begin in different banks, eight apart.
 */
export const stagedPitch = (t: MatrixTile): number => t.BN / 4 + 2;
/** vec4s that a row of matrices of `subgroups` rows of subgroups takes there. */
export const stagedSize = (t: MatrixTile, subgroups: number): number => subgroups * t.MM * stagedPitch(t);

/** Workgroup memory of a tile: both operands with padded rows, and in their place, when they have been multiplied, at least one row of matrices of results; nf4's table of 16 numbers. */
export const sharedBytes = (t: MatrixTile): number =>
  Math.max(2 * (Math.max(t.BM * (t.BK + 8), t.BK * (t.BM + 8)) + Math.max(t.BN * (t.BK + 8), t.BK * (t.BN + 8))), 16 * stagedSize(t, 1)) + 64;

/** What decides the bits of a product: not the tile, only the matrices its sums are made of. */
export const backEnd = (t: MatrixTile): string => `subgroup-matrix ${t.MM}x${t.MN}x${t.MK}`;
