import { EdpoError } from '../errors.js';
import type { Gpu } from './device.js';

/**
 * Ways of doing a step's work that have a plainer way beside them, with what runs in their place. All are on; a test or a search for a fault turns some off
 * (`gpu.without`, or EDPO_WITHOUT with names and commas) and must see the same training but for rounding: test/model/paths.test.ts trains with and without each.
 *
 * Not here, for want of two ways in one program: prompts shared by a pair's branches are the form of the batch (design 3; test/helpers/parity.ts has it against sequences
 * of their own), and what a user chooses by a key (checkpointing, formats, adapters) is no path, though that file trains with and without checkpointing too.
 * bias_activation.ts serves a judge alone, which is not trained.
 */
export const FUSED_PATHS = {
  attention_matrix: 'attention in f16 matrices; without: in f32',
  product_bias: 'the bias of a linear layer added where a tiled product or one in matrices is made; without: in a pass of its own',
  heads_kept: 'queries, keys and values stand from the forward to the backward pass as the operands attention multiplies; without: in f32 (or `activations`), packed in both',
  product_heads: 'queries, keys and values leave their products as the operands attention multiplies, with their bias and turned by RoPE; without: in f32, turned and packed in passes of their own',
  product_qkv: 'those three products are one dispatch, on adapters that bind so many buffers; without: three',
  attention_tiled: 'attention in f32 by tiles of rows in workgroup memory; without: a thread for every row and head',
  products_tiled: 'plain products by tiles in workgroup memory; without: a thread makes a patch straight from storage',
  product_sums: 'the gradient of what queries, keys and values read is one product in matrices, and so of gate and up; without: a product each, added to what stands',
  split_sums: 'dW over many rows in ranges of rows, their sums added in order; without: in one sum',
  by_fours: 'products, attention, norms, SwiGLU, RoPE, AdamW and packing by four elements a thread; without: by one',
  subgroup_sums: 'a row is summed by a subgroup; without: by one thread',
  norm_operand: 'a norm whose result products alone read, and a post-norm’s gradient, is written as their f16 operand; without: in f32, packed by a kernel of its own',
  norm_next: 'a post-norm’s sum and the norm that reads it next in one pass; without: two',
  residual_operand: 'the backward pass of an RMSNorm writes the residual’s gradient, to which it adds, as the operand of the next product too; without: packed by a kernel of its own',
  norm_gain: 'the backward pass of an RMSNorm sums the gradient of its gain as it goes; without: in a pass of its own',
  swiglu_operand: 'SwiGLU and its gradients are written as f16 operands where products alone read them; without: in f32, packed by kernels of their own',
  swiglu_product: 'gate and up are one product with SwiGLU where it leaves, and the product of its gradient has SwiGLU’s backward pass there; without: products of their own, and SwiGLU in passes between',
  head_grad_operand: 'the gradient of the logits is written so; without: in f32, packed by a kernel of its own',
  head_tiles_kept: 'tiles of logits kept in f16 for the backward pass where the plan has room (head_tiles); without: made again by their product',
  head_tile_skip: 'products with the gradient of the logits leave out steps that are zeros in f16; without: all steps are made',
  lora_matrices: 'the products with LoRA’s A and B in f16 matrices; without: in f32',
  lora_operands: 'what LoRA’s A makes of its input, and the gradient of that, leave their products as the operands others read, their factor in them; without: in f32, scaled and packed in passes of their own',
  adamw_copy: 'AdamW writes the f16 copy of a matrix with its values; without: a kernel of its own packs it',
  grad_norm_grouped: 'the gradient norm takes eight gradients a dispatch, and all that lie in one buffer; without: a dispatch for each',
  parameter_arena: 'small trained tensors, their gradients and moments lie behind one another and are cleared and moved as one; without: each in a buffer of its own',
  rope_bias: 'RoPE adds the bias of queries and keys; without: it is added as other biases are',
  quantised_operands: 'products in matrices of up to 512 rows read frozen weights as they are kept, in 4 to 16 bits; without: each is unpacked to f16 before its product',
  head_wide: 'tiles of logits as wide as memory allows, on a GPU; without: as wide as what is folded at once',
  replay: 'a recorded dispatch keeps its bind group, its arguments and its workgroups; without: they are made again for every step',
  late_reading: 'a step of training is read when the next one is on its way; without: at once',
} as const;
export type FusedPath = keyof typeof FUSED_PATHS;

/** Which paths are taken: a device's (`Gpu`), or where there is none those of the environment. */
export interface Paths { uses(path: FusedPath): boolean }

/** Those that change the order of a sum of the forward pass, and so log-probs in their last bits: a cache made without one says so. */
const REORDERED: FusedPath[] = ['attention_matrix', 'lora_matrices', 'attention_tiled', 'products_tiled', 'by_fours', 'subgroup_sums'];
/** Which of them are off, in words for a cache's header; empty where none is. */
export const reordered = (gpu: Gpu): string => REORDERED.filter((path) => !gpu.uses(path)).join(', ');

/** Whether kernels that take four elements a thread serve these sizes. */
export const byFours = (paths: Paths, ...sizes: number[]): boolean => paths.uses('by_fours') && sizes.every((n) => n % 4 === 0);

/** The paths that EDPO_WITHOUT names. Throws EdpoError for a name that is none. */
export function pathsOff(names: string | undefined): Set<FusedPath> {
  const asked = (names ?? '').split(',').map((n) => n.trim()).filter(Boolean);
  const wrong = asked.filter((n) => !(n in FUSED_PATHS));
  if (wrong.length > 0) throw new EdpoError(`EDPO_WITHOUT names ${wrong.join(', ')}; expected some of ${Object.keys(FUSED_PATHS).join(', ')}`, { exitCode: 2 });
  return new Set(asked as FusedPath[]);
}

/** Those that a device opened now would take. */
export function pathsOfEnvironment(): Paths {
  const off = pathsOff(process.env['EDPO_WITHOUT']);
  return { uses: (path) => !off.has(path) };
}
