import { z } from 'zod';
import { COMMANDS, DATA, keysOf, list, MODEL, text, TRAINING, type Command } from './define.js';

/** Commands that hold frozen weights. */
const FROZEN: Command[] = ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'generate', 'plan'];

const key = keysOf('model');

/** Keys of the models: which they are, how their weights are kept, adapters. */
export const modelKeys = {
  model_name_or_path: key('model_name_or_path', [...COMMANDS], text.optional(), 'policy: a folder with config.json, *.safetensors, tokenizer.json, or a LoRA adapter’s; or a hub id, ORG/NAME or ORG/NAME@REVISION'),
  model_revision: key('model_revision', [...COMMANDS], text.optional(), 'branch, tag or commit of a model_name_or_path from the hub; main where absent'),
  adapter_name_or_path: key('adapter_name_or_path', [...COMMANDS], text.optional(), 'folder or hub id of a LoRA adapter on model_name_or_path; for one whose own adapter_config.json names its base, model_name_or_path alone does'),
  ref_model_name_or_path: key('ref_model_name_or_path', ['train', 'precompute-ref', 'eval', 'eval-winrate', 'generate', 'plan'], text.optional(), 'folder or hub id of the reference; the policy as it starts where absent'),
  chat_template: key('chat_template', [...DATA, 'generate'], text.optional(), 'Jinja file (or text) instead of the tokenizer’s own chat template'),
  system_messages: key('system_messages', [...DATA, 'generate'], z.enum(['template', 'merge']).default('template'), 'template: as the chat template takes them, and Gemma’s refuses them; merge: put before the first user message, an empty line between'),
  save_dtype: key('save_dtype', ['train', 'sft', 'merge'], z.enum(['auto', 'float32', 'float16', 'bfloat16']).default('auto'), 'format of written weights; auto: as the base stores them (adapters: float32)'),
  use_peft: key('use_peft', [...TRAINING, 'precompute-ref'], z.boolean().default(false), 'LoRA: train adapters on frozen weights; the result is an adapter in PEFT’s layout'),
  lora_r: key('lora_r', TRAINING, z.int().positive().default(16), 'rank r of the adapters'),
  lora_alpha: key('lora_alpha', TRAINING, z.number().positive().default(32), 'α: adapters are scaled by α/r'),
  lora_target_modules: key('lora_target_modules', TRAINING, list.optional(), 'modules with an adapter (q_proj,v_proj), or all-linear; PEFT’s default for the family where absent (q_proj,v_proj)'),
  lora_dropout: key('lora_dropout', TRAINING, z.number().min(0).lt(1).default(0.05), 'share of the elements of an adapter’s input that fall in training; without effect in train while disable_dropout is true'),
  disable_dropout: key('disable_dropout', ['train', 'plan'], z.boolean().default(true), 'no dropout in preference training (lora_dropout), as TRL’s DPO has it; sft takes lora_dropout as it is'),
  use_rslora: key('use_rslora', TRAINING, z.boolean().default(false), 'scale adapters by α/√r'),
  lora_modules_to_save: key('lora_modules_to_save', TRAINING, list.optional(), 'modules trained in full beside the adapters, matched by the ends of their paths as in PEFT (lm_head, embed_tokens, norm)'),
  base_dtype: key('base_dtype', FROZEN, z.enum(['auto', 'float32', 'float16', 'bfloat16']).default('auto'), 'how weights that are not trained are kept on the GPU (a LoRA run’s base, a reference, a model that is only run); auto: as the files have them; the arithmetic is dtype’s'),
  load_in_4bit: key('load_in_4bit', FROZEN, z.boolean().default(false), 'QLoRA: the frozen matrices of the layers in 4 bits (NF4, as bitsandbytes packs them); embeddings and head as base_dtype says'),
  load_in_8bit: key('load_in_8bit', FROZEN, z.boolean().default(false), 'the frozen matrices of the layers in 8 bits, a scale per row (as LLM.int8() stores them)'),
  bnb_4bit_quant_type: key('bnb_4bit_quant_type', FROZEN, z.enum(['nf4']).default('nf4'), 'load_in_4bit: the 4-bit values'),
  use_bnb_nested_quant: key('use_bnb_nested_quant', FROZEN, z.boolean().default(false), 'load_in_4bit: double quantisation, the blocks’ scales in 8 bits: 4.13 bits a weight instead of 4.5'),
  dtype: key('dtype', MODEL, z.enum(['float32', 'mixed_f16']).default('float32'), 'arithmetic of the run; mixed_f16: products with weights and those of attention take f16 operands and sum in f32 (tensor cores), all else stays f32 (docs/mixed-precision.md)'),
} as const;
