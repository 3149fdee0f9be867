import { z } from 'zod';
import { HEAD_TILES } from '../../gpu/ops/kept_tiles.js';
import { OPTIMISER_NAMES } from '../../model/optim/index.js';
import { SCHEDULES } from '../../model/train/schedule.js';
import { count, keysOf, TRAINING } from './define.js';

const key = keysOf('optimiser');

/** Keys of the optimiser step: learning rate, optimiser, its documents, and what the backward pass keeps. */
export const optimiserKeys = {
  learning_rate: key('learning_rate', TRAINING, z.number().min(0).default(1e-6), 'peak learning rate'),
  lr_scheduler_type: key('lr_scheduler_type', TRAINING, z.enum(SCHEDULES).default('linear'), 'schedule, by transformers’ names and formulas'),
  lr_scheduler_kwargs: key('lr_scheduler_kwargs', TRAINING, z.strictObject({ num_cycles: z.number().positive().optional(), min_lr: z.number().min(0).optional(), min_lr_rate: z.number().min(0).max(1).optional() }).optional(), 'num_cycles, min_lr, min_lr_rate'),
  warmup_ratio: key('warmup_ratio', TRAINING, z.number().min(0).max(1).default(0), 'share of all steps that warm up; steps are rounded up'),
  warmup_steps: key('warmup_steps', TRAINING, count.default(0), 'warm-up steps; wins over warmup_ratio'),
  optim: key('optim', TRAINING, z.enum(OPTIMISER_NAMES).default('adamw_torch'), 'AdamW with f32 moments; adamw_8bit: bitsandbytes’ 8-bit blocks; adafactor: factored, as transformers sets it; sgd'),
  master_dtype: key('master_dtype', TRAINING, z.enum(['float32', 'bfloat16']).default('float32'), 'how trained matrices are kept on the GPU; bfloat16: two bytes a weight instead of four, each update rounded stochastically (seeded), so that small steps count in the mean; vectors, gradients and moments stay as they are'),
  sgd_momentum: key('sgd_momentum', TRAINING, z.number().min(0).lt(1).default(0), 'sgd: momentum, as torch’s; 0: none, and nothing is kept of it'),
  adam_beta1: key('adam_beta1', TRAINING, z.number().min(0).lt(1).default(0.9), 'decay of the first moment'),
  adam_beta2: key('adam_beta2', TRAINING, z.number().min(0).lt(1).default(0.999), 'decay of the second moment'),
  adam_epsilon: key('adam_epsilon', TRAINING, z.number().positive().default(1e-8), 'added to the root of the second moment'),
  weight_decay: key('weight_decay', TRAINING, z.number().min(0).default(0), 'decay of matrices (not of norm gains), decoupled but in sgd'),
  max_grad_norm: key('max_grad_norm', TRAINING, z.number().min(0).default(1), 'global gradient norm is clipped to this; 0: never'),
  num_train_epochs: key('num_train_epochs', TRAINING, z.number().positive().default(3), 'passes over the data'),
  max_steps: key('max_steps', TRAINING, z.int().min(-1).default(-1), 'optimiser steps instead of epochs; -1: by epochs'),
  per_device_train_batch_size: key('per_device_train_batch_size', TRAINING, z.int().positive().default(8), 'pairs; with gradient_accumulation_steps it gives the pairs of an optimiser step'),
  gradient_accumulation_steps: key('gradient_accumulation_steps', TRAINING, z.int().positive().default(1), 'see per_device_train_batch_size'),
  total_batch_size: key('total_batch_size', TRAINING, z.int().positive().optional(), 'pairs of an optimiser step, instead of the product of the two'),
  gradient_checkpointing: key('gradient_checkpointing', TRAINING, z.boolean().default(false), 'keep only each layer’s input and make the rest again in the backward pass'),
  gradient_checkpointing_granularity: key('gradient_checkpointing_granularity', TRAINING, z.enum(['layer', 'mlp']).default('layer'), 'gradient_checkpointing: make all of a layer again, or only its MLP, which holds most of it and takes less time'),
  activation_dtype: key('activation_dtype', TRAINING, z.enum(['float32', 'float16', 'bfloat16']).default('float32'), 'format of what is kept for the backward pass (operands of products, never the residual stream); the loss does not see it, gradients do: by up to 2e-3 and 1.6e-2 of their norm'),
  head_tiles: key('head_tiles', TRAINING, z.enum(['auto', ...HEAD_TILES]).default('auto'), 'logits of the scored rows between the passes: recomputed for the backward pass, or kept in f16 (kept: the policy’s; kept_both: the reference’s too, where the loss has a gradient through KL), which spares a product with the head’s matrix; no log-prob or loss sees it. auto: kept with dtype mixed_f16 where they fit gpu_memory beside all else'),
} as const;
