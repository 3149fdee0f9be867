import { z } from 'zod';
import { keysOf, text } from './define.js';

const key = keysOf('reference');

/** Keys of the reference: where its log-probs come from, and whether it moves. */
export const referenceKeys = {
  ref_mode: key('ref_mode', ['train', 'eval', 'plan'], z.enum(['cache', 'live', 'adapter_off']).default('cache'), 'reference from a cache on disk (made if absent), or run in every micro-batch; adapter_off: that of a LoRA run, the base without its adapters'),
  ref_cache: key('ref_cache', ['train', 'precompute-ref', 'eval', 'plan'], text.optional(), 'cache folder; output_dir/ref_cache where absent'),
  ref_cache_dtype: key('ref_cache_dtype', ['train', 'precompute-ref', 'eval', 'plan'], z.enum(['float32', 'float16']).default('float32'), 'format of cached hidden states'),
  sync_ref_model: key('sync_ref_model', ['train', 'plan'], z.boolean().default(false), 'TR-DPO: the reference moves towards the policy (needs ref_mode live)'),
  ref_model_mixup_alpha: key('ref_model_mixup_alpha', ['train', 'plan'], z.number().gt(0).max(1).default(0.6), 'sync_ref_model: the policy’s share α in the new reference; 1: a copy (TR-DPO^τ)'),
  ref_model_sync_steps: key('ref_model_sync_steps', ['train', 'plan'], z.int().positive().default(512), 'sync_ref_model: optimiser steps between two updates of the reference'),
  allow_large_cache: key('allow_large_cache', ['train'], z.boolean().default(false), 'let train itself write a cache over 1 GB'),
} as const;
