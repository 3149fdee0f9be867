import type { Gpu } from '../gpu/device.js';
import { weightBounds } from '../gpu/ops/operand_scales.js';
import { Program } from '../gpu/program.js';
import { debugRead, debugReadU32 } from '../gpu/readback.js';
import { Tensor } from '../gpu/tensor.js';
import type { AdapterInput } from './adapter_operands.js';
import type { Parameters } from './parameters.js';

/* How large what operands.ts multiplies can become, from the weights alone, and the scales that follow: once, when they are loaded. */

/** A weight [O, I] whose products run in f16, and what its input is made of. */
export interface OperandSite {
  parameters: Parameters;
  name: string;
  /** Slots of the scales of the weight, of the forward input (shared by weights that read the same) and of the gradient of the output. */
  weight: number;
  input: number;
  gradient: number;
  /** The norm whose output the weight reads; absent where it reads attention's output or the MLP's product. */
  norm?: { gain: string; bias?: string | undefined } | undefined;
}

/** What fixes the scale of a forward operand: a norm's own output, or what weights make of it. */
export interface OperandInput {
  slot: number;
  parameters: Parameters;
  norm?: { gain: string; bias?: string | undefined };
  /** The largest magnitude is at most the product of these weights' (their biases added). */
  of?: Array<{ site: OperandSite; bias: string | undefined }>;
  /** A norm of heads C wide instead, its gain; and what turning by positions makes of it at most. */
  head?: string | undefined;
  times?: number;
}

/** f16 ends at 65,504; operands fixed at load keep a factor of four for what training does to the weights. */
const FORWARD_TOP = 2 ** 14;
/** The largest weight is brought to 32 … 64: it may grow a thousand times, and what is 10^-6 of it is still normal. */
const WEIGHT_TOP = 2 ** 6;

/** The largest power of two that keeps `peak` at or under `top`, within 2^-60 … 2^60; 1 for 0. */
const scaleFor = (peak: number, top: number): number => (peak > 0 && Number.isFinite(peak) ? 2 ** Math.max(-60, Math.min(60, Math.floor(Math.log2(top / peak)))) : 1);

/**
 * Writes to `at` [slots] the scales of these weights and forward operands, from the weights as they stand on the GPU.
 * @param columns whether of a norm's output the bound of each column is wanted, as adapters want it
 * @returns the bound of each forward operand, by its slot
 */
export async function fixScales(gpu: Gpu, at: Tensor, sites: OperandSite[], inputs: OperandInput[], columns: boolean): Promise<Map<number, AdapterInput>> {
  const bounds = new Tensor(gpu, 'weight bounds', [2 * sites.length], 'u32');
  bounds.write(new Uint32Array(2 * sites.length));
  const p = new Program(gpu, 'weight bounds');
  const ones = new Map<number, Tensor>();
  const gainless = (I: number): Tensor => {
    if (!ones.has(I)) ones.set(I, new Tensor(gpu, 'ones', [I]));
    ones.get(I)!.write(new Float32Array(I).fill(1));
    return ones.get(I)!;
  };
  sites.forEach(({ parameters, name, norm }, i) => {
    const value = (of: string): Tensor => parameters.piece(of).value;
    for (const piece of parameters.get(name).pieces) {
      const gain = norm ? value(norm.gain) : gainless(piece.value.shape[1] as number);
      weightBounds(p, { w: piece.value, gain, bias: norm?.bias ? value(norm.bias) : undefined, bounds }, 2 * i, norm ? parameters.spec.block.norm.offset : 0);
    }
  });
  await p.submit();
  const found = new Float32Array((await debugReadU32(bounds)).buffer as ArrayBuffer);
  const peak = async (parameters: Parameters, name: string, offset = 0): Promise<number> => (await debugRead(parameters.piece(name).value)).reduce((m, v) => Math.max(m, Math.abs(v + offset)), 0);
  const scales = await debugRead(at);
  sites.forEach((s, i) => (scales[s.weight] = scaleFor(found[2 * i]!, WEIGHT_TOP)));
  const known = new Map<number, AdapterInput>();
  for (const { slot, parameters, norm, of, head, times } of inputs) {
    let most = times ?? 1;
    if (head) most *= Math.sqrt(parameters.spec.C) * (await peak(parameters, head, parameters.spec.block.norm.offset));
    if (norm) most *= Math.sqrt(parameters.spec.D) * (await peak(parameters, norm.gain, parameters.spec.block.norm.offset)) + (norm.bias ? await peak(parameters, norm.bias) : 0);
    for (const { site, bias } of of ?? []) most *= found[2 * sites.indexOf(site) + 1]! + (bias ? await peak(parameters, bias) : 0);
    if (norm || of || head) scales[slot] = scaleFor(most, FORWARD_TOP);
    known.set(slot, norm && columns ? { norm: await gains(parameters, norm) } : { most });
  }
  at.write(scales);
  for (const t of [bounds, ...ones.values()]) t.destroy();
  return known;
}

/** Of a norm with its own gain and bias the magnitudes, a pair for each column. */
async function gains(parameters: Parameters, { gain, bias }: NonNullable<OperandInput['norm']>): Promise<Float32Array> {
  const [g, b] = await Promise.all([gain, bias].map((name) => (name === undefined ? undefined : debugRead(parameters.piece(name).value))));
  return Float32Array.from({ length: 2 * g!.length }, (_, i) => Math.abs(i % 2 === 0 ? g![i / 2]! + parameters.spec.block.norm.offset : (b?.[(i - 1) / 2] ?? 0)));
}
