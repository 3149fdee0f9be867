import { z } from 'zod';
import { HEAD_TILES } from '../gpu/ops/kept_tiles.js';
import { losses, LOSS_NAMES } from '../model/losses/index.js';
import type { LossDefinition } from '../model/losses/types.js';
import { DIVERGENCE_TYPES } from '../model/losses/modifiers/divergence.js';
import { LINKS } from '../model/losses/rainbowpo.js';
import { DATASET_FORMATS } from '../model/data/formats.js';
import { TOKENIZATIONS } from '../model/data/tokenise.js';
import { TRUNCATION_MODES } from '../model/data/truncate.js';
import { JUDGE_PROTOCOLS } from '../model/judge/openai/protocols.js';
import { JUDGE_DTYPES } from '../model/judge/types.js';
import { mixtureSchema } from './mixture.js';
import { OPTIMISER_NAMES } from '../model/optim/index.js';
import { SCHEDULES } from '../model/train/schedule.js';
import { SINKS } from '../model/train/sinks/types.js';

/** Commands that read configuration. */
export const COMMANDS = ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'generate', 'plan', 'inspect', 'merge'] as const;
export type Command = (typeof COMMANDS)[number];

/** Where a key is listed in help and in reference.yaml. */
export type Group = 'model' | 'data' | 'method' | 'reference' | 'optimiser' | 'run' | 'generation' | 'device';

export interface KeyMeta {
  about: string;
  group: Group;
  commands: Command[];
}

const TRAINING: Command[] = ['train', 'sft', 'plan'];
const MODEL: Command[] = COMMANDS.filter((c) => c !== 'merge');
/** Commands that hold frozen weights. */
const FROZEN: Command[] = ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'generate', 'plan'];
const LORA: Command[] = ['train', 'sft', 'plan'];
const PAIRS: Command[] = ['train', 'precompute-ref', 'eval', 'plan'];
const DATA: Command[] = ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'plan', 'inspect'];
const SAMPLING: Command[] = ['generate', 'eval-winrate'];

/** token_budget auto. */
export const AUTO_BUDGET = 0;

export const META: Record<string, KeyMeta> = {};
function key<T extends z.ZodType>(name: string, group: Group, commands: Command[], type: T, about: string): T {
  META[name] = { about, group, commands };
  return type;
}
const text = z.string().min(1);
const list = z.union([text, z.array(text)]).transform((v) => (Array.isArray(v) ? v : v.split(',')));
const count = z.int().min(0);
/** Names from a fixed few, one or several. */
const sinks = z.union([z.enum(SINKS), z.array(z.enum(SINKS))]).transform((v) => [...new Set(Array.isArray(v) ? v : [v])]);
/** A number of steps, or a share of all steps in (0, 1). */
const steps = z.number().min(0).refine((v) => v < 1 || Number.isInteger(v), 'expected a whole number of steps or a share in (0, 1)');

/** Every key, flat, in TRL's names where TRL has one and with TRL's defaults for those (design 9). */
const written = {
  model_name_or_path: key('model_name_or_path', 'model', [...COMMANDS], text.optional(), 'policy: a folder with config.json, *.safetensors, tokenizer.json, or a LoRA adapter’s; or a hub id, ORG/NAME or ORG/NAME@REVISION'),
  model_revision: key('model_revision', 'model', [...COMMANDS], text.optional(), 'branch, tag or commit of a model_name_or_path from the hub; main where absent'),
  adapter_name_or_path: key('adapter_name_or_path', 'model', [...COMMANDS], text.optional(), 'folder or hub id of a LoRA adapter on model_name_or_path; for one whose own adapter_config.json names its base, model_name_or_path alone does'),
  ref_model_name_or_path: key('ref_model_name_or_path', 'model', ['train', 'precompute-ref', 'eval', 'eval-winrate', 'generate', 'plan'], text.optional(), 'folder or hub id of the reference; the policy as it starts where absent'),
  chat_template: key('chat_template', 'model', [...DATA, 'generate'], text.optional(), 'Jinja file (or text) instead of the tokenizer’s own chat template'),
  system_messages: key('system_messages', 'model', [...DATA, 'generate'], z.enum(['template', 'merge']).default('template'), 'template: as the chat template takes them, and Gemma’s refuses them; merge: put before the first user message, an empty line between'),
  save_dtype: key('save_dtype', 'model', ['train', 'sft', 'merge'], z.enum(['auto', 'float32', 'float16', 'bfloat16']).default('auto'), 'format of written weights; auto: as the base stores them (adapters: float32)'),
  use_peft: key('use_peft', 'model', [...LORA, 'precompute-ref'], z.boolean().default(false), 'LoRA: train adapters on frozen weights; the result is an adapter in PEFT’s layout'),
  lora_r: key('lora_r', 'model', LORA, z.int().positive().default(16), 'rank r of the adapters'),
  lora_alpha: key('lora_alpha', 'model', LORA, z.number().positive().default(32), 'α: adapters are scaled by α/r'),
  lora_target_modules: key('lora_target_modules', 'model', LORA, list.optional(), 'modules with an adapter (q_proj,v_proj), or all-linear; PEFT’s default for the family where absent (q_proj,v_proj)'),
  lora_dropout: key('lora_dropout', 'model', LORA, z.number().min(0).lt(1).default(0.05), 'share of the elements of an adapter’s input that fall in training; without effect in train while disable_dropout is true'),
  disable_dropout: key('disable_dropout', 'model', ['train', 'plan'], z.boolean().default(true), 'no dropout in preference training (lora_dropout), as TRL’s DPO has it; sft takes lora_dropout as it is'),
  use_rslora: key('use_rslora', 'model', LORA, z.boolean().default(false), 'scale adapters by α/√r'),
  lora_modules_to_save: key('lora_modules_to_save', 'model', LORA, list.optional(), 'modules trained in full beside the adapters, matched by the ends of their paths as in PEFT (lm_head, embed_tokens, norm)'),
  base_dtype: key('base_dtype', 'model', FROZEN, z.enum(['auto', 'float32', 'float16', 'bfloat16']).default('auto'), 'how weights that are not trained are kept on the GPU (a LoRA run’s base, a reference, a model that is only run); auto: as the files have them; the arithmetic is dtype’s'),
  load_in_4bit: key('load_in_4bit', 'model', FROZEN, z.boolean().default(false), 'QLoRA: the frozen matrices of the layers in 4 bits (NF4, as bitsandbytes packs them); embeddings and head as base_dtype says'),
  load_in_8bit: key('load_in_8bit', 'model', FROZEN, z.boolean().default(false), 'the frozen matrices of the layers in 8 bits, a scale per row (as LLM.int8() stores them)'),
  bnb_4bit_quant_type: key('bnb_4bit_quant_type', 'model', FROZEN, z.enum(['nf4']).default('nf4'), 'load_in_4bit: the 4-bit values'),
  use_bnb_nested_quant: key('use_bnb_nested_quant', 'model', FROZEN, z.boolean().default(false), 'load_in_4bit: double quantisation, the blocks’ scales in 8 bits: 4.13 bits a weight instead of 4.5'),
  dtype: key('dtype', 'model', MODEL, z.enum(['float32', 'mixed_f16']).default('float32'), 'arithmetic of the run; mixed_f16: products with weights and those of attention take f16 operands and sum in f32 (tensor cores), all else stays f32 (docs/mixed-precision.md)'),

  dataset_name: key('dataset_name', 'data', DATA, text.optional(), 'a data file, a folder with files named by split, or a hub id (ORG/NAME or ORG/NAME@REVISION)'),
  dataset_revision: key('dataset_revision', 'data', DATA, text.optional(), 'branch, tag or commit of a dataset_name from the hub; main where absent'),
  offline: key('offline', 'data', [...COMMANDS], z.boolean().default(false), 'ask no hub: what has a hub id is taken from the cache (also HF_HUB_OFFLINE=1)'),
  data_files: key('data_files', 'data', DATA, list.optional(), 'training (or input) files one by one; wins over dataset_name'),
  data_dir: key('data_dir', 'data', DATA, list.optional(), 'subfolders of dataset_name, e.g. helpful-base'),
  dataset_mixture: key('dataset_mixture', 'data', DATA, mixtureSchema.optional(), 'several data sets in place of dataset_name, as alignment-handbook has it: datasets, each with id, config, split, columns and the weight of its rows that is taken; seed draws and shuffles; test_split_size rows (or that share) are held out for evaluation, or test_datasets are read; {…} as a flag'),
  eval_data_files: key('eval_data_files', 'data', ['train', 'sft', 'precompute-ref', 'plan'], list.optional(), 'evaluation files; the test split of dataset_name where absent'),
  dataset_train_split: key('dataset_train_split', 'data', DATA, text.default('train'), 'beginning of the training files’ names'),
  dataset_test_split: key('dataset_test_split', 'data', DATA, text.default('test'), 'beginning of the evaluation files’ names'),
  dataset_format: key('dataset_format', 'data', DATA, z.enum(DATASET_FORMATS).default('auto'), 'hf: prompt/chosen/rejected in all TRL’s shapes; hh: Anthropic-HH dialogues; tokenized: prompt_ids, chosen_ids, rejected_ids (sdpo: chosen_weights, rejected_weights too); list: prompt, responses, scores (rrhf); auto: by the first row'),
  tokenization: key('tokenization', 'data', DATA, z.enum(TOKENIZATIONS).default('edpo'), 'edpo: BOS once, EOS not doubled; trl-0.13: as the official code (EOS always appended)'),
  max_length: key('max_length', 'data', DATA, count.default(1024), 'tokens of prompt + one response; 0: no limit'),
  max_prompt_length: key('max_prompt_length', 'data', [...DATA, 'generate'], count.default(512), 'tokens of the prompt, whose end is kept; 0: no limit'),
  truncation_mode: key('truncation_mode', 'data', DATA, z.enum(TRUNCATION_MODES).default('drop'), 'a row over max_length is dropped, its responses are cut (keep_start), or it is an error'),
  bad_rows: key('bad_rows', 'data', DATA, z.enum(['auto', 'error', 'drop']).default('auto'), 'rows with empty or identical responses: an error, or dropped and counted; auto drops them in hh data alone'),
  max_train_samples: key('max_train_samples', 'data', DATA, count.default(0), 'use the first usable rows only; 0: all'),
  max_eval_samples: key('max_eval_samples', 'data', DATA, count.default(0), 'the same for the evaluation split'),
  dataset_num_proc: key('dataset_num_proc', 'data', DATA, z.int().positive().optional(), 'threads that tokenise a large data set, never more than there are cores; 1: the main one alone; up to 8 where absent. The result is the same'),

  loss_type: key('loss_type', 'method', ['train', 'precompute-ref', 'eval', 'plan'], z.union([z.enum(LOSS_NAMES), z.array(z.enum(LOSS_NAMES)).min(2)]).default('sigmoid'), 'the method: sigmoid is DPO, epsilon_dpo is ε-DPO; edpo methods lists them; several with loss_weights are a mixture (MPO)'),
  loss_weights: key('loss_weights', 'method', PAIRS, z.array(z.number().min(0)).optional(), 'weight of each loss of a mixture; 1 each where absent'),
  rpo_alpha: key('rpo_alpha', 'method', PAIRS, z.number().min(0).default(0), 'weight of the chosen responses’ negative log-likelihood (a mean over the step’s tokens), added to any loss of pairs (RPO)'),
  f_divergence_type: key('f_divergence_type', 'method', PAIRS, z.enum(DIVERGENCE_TYPES).default('reverse_kl'), 'divergence from the reference that the score of a response comes from'),
  f_alpha_divergence_coef: key('f_alpha_divergence_coef', 'method', PAIRS, z.number().default(0.5), 'α of alpha_divergence, as TRL counts it since 0.29'),
  beta: key('beta', 'method', PAIRS, z.number().positive().default(0.1), 'KL penalty β; for epsilon_dpo the β the run starts with (the paper: 0.01)'),
  label_smoothing: key('label_smoothing', 'method', PAIRS, z.number().min(0).lt(0.5).default(0), 'λ of conservative DPO: the assumed share of flipped labels'),
  discopop_tau: key('discopop_tau', 'method', PAIRS, z.number().positive().default(0.05), 'discopop: temperature τ of its mixture'),
  rdpo_alpha: key('rdpo_alpha', 'method', PAIRS, z.number().min(0).default(0.05), 'r_dpo: penalty α per token of difference in length'),
  tdpo_alpha: key('tdpo_alpha', 'method', PAIRS, z.number().min(0).default(0.5), 'tdpo2: weight α of the difference of sequence KLs'),
  simpo_gamma: key('simpo_gamma', 'method', PAIRS, z.number().min(0).default(0.5), 'simpo, cpo_simpo, alphapo: target reward margin γ (SimPO’s own configs give γ/β)'),
  alphapo_alpha: key('alphapo_alpha', 'method', PAIRS, z.number().default(0.25), 'alphapo: α of its reward; 0 is SimPO'),
  cpo_alpha: key('cpo_alpha', 'method', PAIRS, z.number().min(0).default(1), 'cpo, cpo_simpo: weight of the NLL of chosen responses'),
  slic_delta: key('slic_delta', 'method', PAIRS, z.number().positive().default(1), 'slic_hf: margin δ of the hinge, nats'),
  slic_lambda: key('slic_lambda', 'method', PAIRS, z.number().min(0).default(0.1), 'slic_hf: weight λ of the likelihood of the chosen response'),
  rrhf_length_penalty: key('rrhf_length_penalty', 'method', PAIRS, z.number().min(0).default(1), 'rrhf: exponent η of the token count that a log-prob is divided by'),
  rrhf_lambda: key('rrhf_lambda', 'method', PAIRS, z.number().min(0).default(1), 'rrhf: weight λ of the likelihood of the chosen response'),
  group_size: key('group_size', 'method', PAIRS, z.int().positive().optional(), 'aot, aot_unpaired, beta_dpo, kto, bco: documents whose statistics belong together, in the order of the step; an optimiser step’s where absent'),
  desirable_weight: key('desirable_weight', 'method', PAIRS, z.number().positive().default(1), 'kto: weight λ_D of desirable responses'),
  undesirable_weight: key('undesirable_weight', 'method', PAIRS, z.number().positive().default(1), 'kto: weight λ_U of undesirable responses'),
  prompt_embeddings: key('prompt_embeddings', 'method', ['train', 'plan'], text.optional(), 'bco: weights undesirable responses by the density ratio of their prompts (TRL’s UDM), from an NDJSON file of {"id": row, "embedding": [numbers]} for the training data, or from "reference": its final states at the prompts’ ends'),
  eval_prompt_embeddings: key('eval_prompt_embeddings', 'method', ['train', 'plan'], text.optional(), 'bco: the file of the evaluation data, where prompt_embeddings is a file'),
  prompt_sample_size: key('prompt_sample_size', 'method', PAIRS, z.int().positive().default(1024), 'bco with prompt_embeddings: prompts of each kind that the classifier learns from, at most'),
  min_density_ratio: key('min_density_ratio', 'method', PAIRS, z.number().min(0).default(0.5), 'bco with prompt_embeddings: the least weight of an undesirable response'),
  max_density_ratio: key('max_density_ratio', 'method', PAIRS, z.number().positive().default(10), 'bco with prompt_embeddings: the largest'),
  beta_dpo_alpha: key('beta_dpo_alpha', 'method', PAIRS, z.number().min(0).default(0.6), 'beta_dpo: how much β follows the margins of a group'),
  beta_dpo_filter: key('beta_dpo_filter', 'method', PAIRS, z.number().min(0).lt(1).default(0.2), 'beta_dpo: share of the pairs of a group that the filter leaves out'),
  beta_dpo_momentum: key('beta_dpo_momentum', 'method', PAIRS, z.number().min(0).lt(1).default(0.9), 'beta_dpo: momentum of the running mean and deviation of margins'),
  length_average: key('length_average', 'method', PAIRS, z.boolean().default(false), 'means over a response’s tokens in place of sums of log-ratios (sigmoid becomes sigmoid_norm; β is then of another size)'),
  ld_alpha: key('ld_alpha', 'method', PAIRS, z.number().min(0).max(1).optional(), 'LD-DPO: what a token after the length that both responses have counts; 1 or absent: as much as any'),
  use_weighting: key('use_weighting', 'method', PAIRS, z.boolean().default(false), 'WPO: each pair’s loss times the weight of its responses under the policy'),
  rainbow_alpha: key('rainbow_alpha', 'method', PAIRS, z.number().min(0).max(1).default(0.25), 'rainbowpo: the reference’s share α; 1: DPO’s, 0: none'),
  rainbow_eta: key('rainbow_eta', 'method', PAIRS, z.number().default(0.1), 'rainbowpo: home advantage η, inside β'),
  rainbow_context: key('rainbow_context', 'method', PAIRS, z.number().min(0).default(0.29), 'rainbowpo: c of the contextual scale -c log H̄ from the reference’s entropies; 0: no such scale'),
  rainbow_link: key('rainbow_link', 'method', PAIRS, z.enum(LINKS).default('sigmoid'), 'rainbowpo: link function; square and hinge are of X itself'),
  rainbow_average: key('rainbow_average', 'method', PAIRS, z.boolean().default(true), 'rainbowpo: length averages'),
  mi_reference: key('mi_reference', 'method', PAIRS, z.number().min(0).default(1), 'mi_dpo: weight ρ of the reference’s log-prob in the prior; 0: none'),
  mi_kl: key('mi_kl', 'method', PAIRS, z.number().min(0).default(0), 'mi_dpo: weight κ of the sequence’s KL(ref‖policy) in the prior'),
  mi_kl_gradient: key('mi_kl_gradient', 'method', PAIRS, z.enum(['both', 'rejected']).default('both'), 'mi_dpo: responses whose KL has a gradient'),
  mi_length: key('mi_length', 'method', PAIRS, z.number().default(0), 'mi_dpo: λ per token of a response in the prior (R-DPO)'),
  mi_margin: key('mi_margin', 'method', PAIRS, z.number().default(0), 'mi_dpo: margin γ, half of it in each side’s prior (SimPO)'),
  mi_average: key('mi_average', 'method', PAIRS, z.boolean().default(false), 'mi_dpo: means over a response’s tokens in place of sums'),
  mi_weights: key('mi_weights', 'method', PAIRS, z.enum(['none', 'data', 'mapo']).default('none'), 'mi_dpo: weights per token inside the sums: from the data as sdpo has them, or sparsepo’s mask'),
  sparsepo_mask: key('sparsepo_mask', 'method', PAIRS, z.enum(['mapo', 'common', 'independent']).default('mapo'), 'sparsepo: mapo, a constant mask of the reference’s activations; common, one learned with the policy; independent, one each for log-ratios and KLs'),
  sparsepo_l1: key('sparsepo_l1', 'method', PAIRS, z.number().min(0).default(0), 'sparsepo with a learned mask: λ_u per token on the mask of log-ratios (half of it where the mask is common)'),
  sparsepo_l1_kl: key('sparsepo_l1_kl', 'method', PAIRS, z.number().min(0).default(0), 'sparsepo with a learned mask: λ_d per token on the mask of KLs (half of it where the mask is common)'),
  sparsepo_dropout: key('sparsepo_dropout', 'method', PAIRS, z.number().min(0).lt(1).default(0.01), 'sparsepo with a learned mask: dropout inside it'),
  epsilon: key('epsilon', 'method', PAIRS, z.number().gt(0).lt(1).default(0.01), 'size ε by which β is perturbed'),
  epsilon_check: key('epsilon_check', 'method', PAIRS, z.number().gt(0).lt(1).optional(), 'ε of the monotonicity check; epsilon where absent'),
  epsilon_size: key('epsilon_size', 'method', PAIRS, z.number().gt(0).lt(1).optional(), 'ε of the step in β; epsilon where absent'),
  criterion: key('criterion', 'method', PAIRS, z.enum(['exact', 'deadzone', 'bf16-trl']).default('exact'), 'exact comparison; only changes over criterion_deadzone count; or the official code’s bf16 comparison'),
  criterion_deadzone: key('criterion_deadzone', 'method', PAIRS, z.number().min(0).default(0), 'τ of criterion deadzone, nats'),
  beta_update: key('beta_update', 'method', ['train', 'plan'], z.enum(['harmonic', 'arithmetic']).default('harmonic'), 'mean of the pairs’ β: harmonic as the official code, arithmetic as the paper’s Eq. 6'),
  beta_min: key('beta_min', 'method', ['train', 'plan'], z.number().min(0).default(0), 'β never falls below'),

  ref_mode: key('ref_mode', 'reference', ['train', 'eval', 'plan'], z.enum(['cache', 'live', 'adapter_off']).default('cache'), 'reference from a cache on disk (made if absent), or run in every micro-batch; adapter_off: that of a LoRA run, the base without its adapters'),
  ref_cache: key('ref_cache', 'reference', ['train', 'precompute-ref', 'eval', 'plan'], text.optional(), 'cache folder; output_dir/ref_cache where absent'),
  ref_cache_dtype: key('ref_cache_dtype', 'reference', ['train', 'precompute-ref', 'eval', 'plan'], z.enum(['float32', 'float16']).default('float32'), 'format of cached hidden states'),
  sync_ref_model: key('sync_ref_model', 'reference', ['train', 'plan'], z.boolean().default(false), 'TR-DPO: the reference moves towards the policy (needs ref_mode live)'),
  ref_model_mixup_alpha: key('ref_model_mixup_alpha', 'reference', ['train', 'plan'], z.number().gt(0).max(1).default(0.6), 'sync_ref_model: the policy’s share α in the new reference; 1: a copy (TR-DPO^τ)'),
  ref_model_sync_steps: key('ref_model_sync_steps', 'reference', ['train', 'plan'], z.int().positive().default(512), 'sync_ref_model: optimiser steps between two updates of the reference'),
  allow_large_cache: key('allow_large_cache', 'reference', ['train'], z.boolean().default(false), 'let train itself write a cache over 1 GB'),

  learning_rate: key('learning_rate', 'optimiser', TRAINING, z.number().min(0).default(1e-6), 'peak learning rate'),
  lr_scheduler_type: key('lr_scheduler_type', 'optimiser', TRAINING, z.enum(SCHEDULES).default('linear'), 'schedule, by transformers’ names and formulas'),
  lr_scheduler_kwargs: key('lr_scheduler_kwargs', 'optimiser', TRAINING, z.strictObject({ num_cycles: z.number().positive().optional(), min_lr: z.number().min(0).optional(), min_lr_rate: z.number().min(0).max(1).optional() }).optional(), 'num_cycles, min_lr, min_lr_rate'),
  warmup_ratio: key('warmup_ratio', 'optimiser', TRAINING, z.number().min(0).max(1).default(0), 'share of all steps that warm up; steps are rounded up'),
  warmup_steps: key('warmup_steps', 'optimiser', TRAINING, count.default(0), 'warm-up steps; wins over warmup_ratio'),
  optim: key('optim', 'optimiser', TRAINING, z.enum(OPTIMISER_NAMES).default('adamw_torch'), 'AdamW with f32 moments; adamw_8bit: bitsandbytes’ 8-bit blocks; adafactor: factored, as transformers sets it; sgd'),
  master_dtype: key('master_dtype', 'optimiser', TRAINING, z.enum(['float32', 'bfloat16']).default('float32'), 'how trained matrices are kept on the GPU; bfloat16: two bytes a weight instead of four, each update rounded stochastically (seeded), so that small steps count in the mean; vectors, gradients and moments stay as they are'),
  sgd_momentum: key('sgd_momentum', 'optimiser', TRAINING, z.number().min(0).lt(1).default(0), 'sgd: momentum, as torch’s; 0: none, and nothing is kept of it'),
  adam_beta1: key('adam_beta1', 'optimiser', TRAINING, z.number().min(0).lt(1).default(0.9), 'decay of the first moment'),
  adam_beta2: key('adam_beta2', 'optimiser', TRAINING, z.number().min(0).lt(1).default(0.999), 'decay of the second moment'),
  adam_epsilon: key('adam_epsilon', 'optimiser', TRAINING, z.number().positive().default(1e-8), 'added to the root of the second moment'),
  weight_decay: key('weight_decay', 'optimiser', TRAINING, z.number().min(0).default(0), 'decay of matrices (not of norm gains), decoupled but in sgd'),
  max_grad_norm: key('max_grad_norm', 'optimiser', TRAINING, z.number().min(0).default(1), 'global gradient norm is clipped to this; 0: never'),
  num_train_epochs: key('num_train_epochs', 'optimiser', TRAINING, z.number().positive().default(3), 'passes over the data'),
  max_steps: key('max_steps', 'optimiser', TRAINING, z.int().min(-1).default(-1), 'optimiser steps instead of epochs; -1: by epochs'),
  per_device_train_batch_size: key('per_device_train_batch_size', 'optimiser', TRAINING, z.int().positive().default(8), 'pairs; with gradient_accumulation_steps it gives the pairs of an optimiser step'),
  gradient_accumulation_steps: key('gradient_accumulation_steps', 'optimiser', TRAINING, z.int().positive().default(1), 'see per_device_train_batch_size'),
  total_batch_size: key('total_batch_size', 'optimiser', TRAINING, z.int().positive().optional(), 'pairs of an optimiser step, instead of the product of the two'),
  gradient_checkpointing: key('gradient_checkpointing', 'optimiser', TRAINING, z.boolean().default(false), 'keep only each layer’s input and make the rest again in the backward pass'),
  gradient_checkpointing_granularity: key('gradient_checkpointing_granularity', 'optimiser', TRAINING, z.enum(['layer', 'mlp']).default('layer'), 'gradient_checkpointing: make all of a layer again, or only its MLP, which holds most of it and takes less time'),
  activation_dtype: key('activation_dtype', 'optimiser', TRAINING, z.enum(['float32', 'float16', 'bfloat16']).default('float32'), 'format of what is kept for the backward pass (operands of products, never the residual stream); the loss does not see it, gradients do: by up to 2e-3 and 1.6e-2 of their norm'),
  head_tiles: key('head_tiles', 'optimiser', TRAINING, z.enum(['auto', ...HEAD_TILES]).default('auto'), 'logits of the scored rows between the passes: recomputed for the backward pass, or kept in f16 (kept: the policy’s; kept_both: the reference’s too, where the loss has a gradient through KL), which spares a product with the head’s matrix; no log-prob or loss sees it. auto: kept with dtype mixed_f16 where they fit gpu_memory beside all else'),

  output_dir: key('output_dir', 'run', ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'plan', 'merge'], text.optional(), 'folder of everything the command writes'),
  run_name: key('run_name', 'run', ['train', 'sft'], text.optional(), 'name in the model card and manifest'),
  overwrite_output_dir: key('overwrite_output_dir', 'run', ['train', 'sft'], z.boolean().default(false), 'start anew in a folder that holds a run'),
  resume_from_checkpoint: key('resume_from_checkpoint', 'run', ['train', 'sft', 'precompute-ref'], z.union([text, z.boolean()]).optional(), 'last (also --resume), or the folder of a checkpoint'),
  seed: key('seed', 'run', MODEL, count.default(42), 'data order, sampling, the adapters’ beginning and dropout'),
  data_seed: key('data_seed', 'run', ['train', 'sft'], count.optional(), 'data order alone; seed where absent'),
  shuffle: key('shuffle', 'run', ['train', 'sft'], z.boolean().default(true), 'new order each epoch, from (seed, epoch) alone'),
  logging_steps: key('logging_steps', 'run', ['train', 'sft'], steps.default(10), 'optimiser steps, or a share of all'),
  report_to: key('report_to', 'run', ['train', 'sft'], sinks.default([]), 'tensorboard: event files in output_dir/tensorboard; csv: trainer_log.csv; several with commas; none: trainer_log.jsonl alone, which is always written'),
  report_html: key('report_html', 'run', ['train', 'sft'], z.boolean().default(true), 'report.html in output_dir, refreshed while the run goes on; it holds texts of some pairs'),
  eval_strategy: key('eval_strategy', 'run', ['train', 'sft'], z.enum(['no', 'steps', 'epoch']).default('no'), 'when to evaluate during training'),
  eval_steps: key('eval_steps', 'run', ['train', 'sft'], steps.default(0), 'optimiser steps, or a share of all; 0: as logging_steps'),
  eval_on_start: key('eval_on_start', 'run', ['train', 'sft'], z.boolean().default(true), 'evaluate at step 0 too, where evaluation is on'),
  save_strategy: key('save_strategy', 'run', ['train', 'sft'], z.enum(['steps', 'epoch', 'no']).default('steps'), 'when to write checkpoints'),
  save_steps: key('save_steps', 'run', ['train', 'sft'], steps.default(500), 'optimiser steps, or a share of all'),
  save_total_limit: key('save_total_limit', 'run', ['train', 'sft'], count.default(0), 'checkpoints kept (the best one besides); 0: all'),
  load_best_model_at_end: key('load_best_model_at_end', 'run', ['train', 'sft'], z.boolean().default(false), 'write the best checkpoint’s weights as the result'),
  metric_for_best_model: key('metric_for_best_model', 'run', ['train', 'sft'], text.default('loss'), 'an evaluation metric, with or without eval_'),
  greater_is_better: key('greater_is_better', 'run', ['train', 'sft'], z.boolean().optional(), 'of metric_for_best_model; false for losses where absent'),
  early_stopping_patience: key('early_stopping_patience', 'run', ['train', 'sft'], count.default(0), 'stop after so many evaluations without a better metric; 0: never'),
  on_nonfinite: key('on_nonfinite', 'run', ['train', 'sft'], z.enum(['stop', 'skip']).default('stop'), 'a step with a non-finite loss or gradient never moves the weights; then stop, or go on'),
  shard: key('shard', 'run', ['precompute-ref'], z.string().regex(/^\d+\/\d+$/, 'expected i/n').optional(), 'i/n: only the i-th (from 0) of n parts'),
  merge_shards: key('merge_shards', 'run', ['precompute-ref'], z.boolean().default(false), 'join the shards of a cache folder into whole files'),

  prompt: key('prompt', 'generation', ['generate'], z.string().optional(), 'a prompt; rendered with the chat template if there is one'),
  prompts_file: key('prompts_file', 'generation', ['generate'], text.optional(), 'data file whose rows give prompts'),
  outputs: key('outputs', 'generation', ['eval-winrate'], text.optional(), 'answers already made instead of sampling: AlpacaEval, Arena-Hard, MT-Bench, or NDJSON with prompt and output'),
  baseline: key('baseline', 'generation', ['eval-winrate'], text.default('chosen'), 'chosen: the data’s answers; or the folder of a model, or a file of answers'),
  judge: key('judge', 'generation', ['eval-winrate'], text.optional(), 'command:PROGRAM reads {id, prompt, a, b} lines and answers {id, winner: "a"|"b"|"tie"} lines; reward:FOLDER is a reward model; pairrm:FOLDER is PairRM; openai:MODEL asks an OpenAI-compatible endpoint (OPENAI_BASE_URL, OPENAI_API_KEY); none: answers, lengths and KL alone'),
  judge_protocol: key('judge_protocol', 'generation', ['eval-winrate'], z.enum(JUDGE_PROTOCOLS).optional(), 'judge openai: how it is asked and how its reply is read; by the format of outputs where absent, else alpaca-eval'),
  judge_template: key('judge_template', 'generation', ['eval-winrate'], text.optional(), 'judge openai: a file with your own prompt instead of the built-in one'),
  judge_dtype: key('judge_dtype', 'generation', ['eval-winrate'], z.enum(JUDGE_DTYPES).default('float32'), 'judge pairrm: how its matrices are kept on the GPU; float16 (as PairRM’s own code) takes half the memory; the arithmetic is float32'),
  judge_order: key('judge_order', 'generation', ['eval-winrate'], z.enum(['both', 'hashed']).default('both'), 'both: each comparison twice, places changed; hashed: once, as AlpacaEval places them (judge openai)'),
  questions: key('questions', 'generation', ['eval-winrate'], text.optional(), 'a benchmark’s question file (question.jsonl of Arena-Hard or MT-Bench): what the answers answer, with categories and reference answers'),
  judgments: key('judgments', 'generation', ['eval-winrate'], text.optional(), 'judgments already made (AlpacaEval annotations, Arena-Hard or MT-Bench judgments): only their numbers'),
  lc_difficulties: key('lc_difficulties', 'generation', ['eval-winrate'], text.optional(), 'AlpacaEval’s instruction_difficulty.csv: length control with difficulties'),
  lc_gamed: key('lc_gamed', 'generation', ['eval-winrate'], text.optional(), 'AlpacaEval’s df_gamed.csv: length control in its published form'),
  lc_weights: key('lc_weights', 'generation', ['eval-winrate'], text.optional(), 'AlpacaEval’s baseline_*.csv: length control from published weights'),
  estimate: key('estimate', 'generation', ['eval-winrate'], z.boolean().default(false), 'judge openai: sample, then only say how many calls and tokens judging would take; nothing is sent'),
  judge_concurrency: key('judge_concurrency', 'generation', ['eval-winrate'], z.int().positive().default(8), 'judge openai: requests under way at once'),
  single_turn: key('single_turn', 'generation', ['eval-winrate'], z.boolean().default(false), 'the prompts of the papers’ Anthropic-HH evaluation: every row with one human turn'),
  n_prompts: key('n_prompts', 'generation', SAMPLING, count.default(0), 'use the first prompts only; 0: all'),
  max_new_tokens: key('max_new_tokens', 'generation', SAMPLING, z.int().positive().default(1024), 'tokens at most'),
  temperature: key('temperature', 'generation', SAMPLING, z.number().min(0).default(1), '0: greedy'),
  category_temperatures: key('category_temperatures', 'generation', ['eval-winrate'], z.boolean().default(false), 'MT-Bench: each question at its category’s temperature (FastChat’s: writing and roleplay 0.7, stem and humanities 0.1, the others 0) instead of temperature'),
  realign: key('realign', 'generation', ['generate', 'eval', 'eval-winrate'], z.number().min(0).optional(), 'λ: runs the policy with logits λ f + (1 − λ) r, policy and reference together; previews training at β/λ'),
  top_p: key('top_p', 'generation', SAMPLING, z.number().gt(0).max(1).default(1), 'smallest set of tokens with this probability'),
  top_k: key('top_k', 'generation', SAMPLING, count.default(0), 'most likely tokens only; 0: all'),
  batch_size: key('batch_size', 'generation', SAMPLING, z.int().positive().default(16), 'answers made at a time; never changes them'),

  token_budget: key('token_budget', 'device', MODEL, count.default(2048), 'token rows of a micro-batch at most; never changes results beyond rounding of gradients; auto (0), in train and sft: the most that fits gpu_memory (a software adapter: free memory), tried on the longest documents first'),
  gpu_memory: key('gpu_memory', 'device', ['train', 'sft', 'plan'], z.number().positive().optional(), 'GB (1e9 bytes) the run may take on the GPU; a larger plan is refused before anything is allocated, with the cheapest changes'),
  adapter: key('adapter', 'device', MODEL, text.default('auto'), 'auto, software, swiftshader, part of an adapter’s name, or NAME@i: the i-th (from 0) of those whose names contain NAME, also where they are alike (edpo doctor lists them)'),
  adapters: key('adapters', 'device', ['precompute-ref', 'eval-winrate'], list.optional(), 'several at once, each as adapter takes it, or all (the hardware ones): a process for each makes its part of the cache or of the answers, and the parts are joined'),
} as const;

/** Keys of the numbers that losses read and `known` has no entry for: adding a loss is adding its file. */
export const lossKeys = (list: LossDefinition[], known: object): Record<string, z.ZodType> =>
  Object.fromEntries(list.flatMap((l) => Object.entries(l.params).filter(([name]) => !(name in known)).map(([name, p]) => [name, key(name, 'method', PAIRS, z.number().default(p.default), `${l.name}: ${p.about}`)])));

export const shape = { ...written, ...lossKeys(Object.values(losses), written) } as typeof written;

export const schema = z.strictObject(shape);
/** A validated configuration; frozen. */
export type RunConfig = Readonly<z.output<typeof schema>>;
export type KeyName = keyof typeof shape;
export const KEYS = Object.keys(shape) as KeyName[];
