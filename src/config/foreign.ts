/** Other trainers' names for keys of ours (TRL, alignment-handbook, axolotl, LLaMA-Factory, mlx-lm-lora). */
export const ALIASES: Record<string, string> = {
  torch_dtype: 'dtype', revision: 'model_revision', model: 'model_name_or_path', base_model: 'model_name_or_path', pretrained_model_name_or_path: 'model_name_or_path',
  ref_model: 'ref_model_name_or_path', reference_model_path: 'ref_model_name_or_path', chat_template_path: 'chat_template', dataset: 'dataset_name',
  pref_loss: 'loss_type', pref_beta: 'beta', rl_beta: 'beta', dpo_beta: 'beta', dpo_label_smoothing: 'label_smoothing', sft_weight: 'rpo_alpha',
  cutoff_len: 'max_length', sequence_len: 'max_length', max_seq_length: 'max_length', micro_batch_size: 'per_device_train_batch_size',
  num_epochs: 'num_train_epochs', n_epochs: 'num_train_epochs', lr: 'learning_rate', lr_scheduler: 'lr_scheduler_type', lr_schedule: 'lr_scheduler_type', optimizer: 'optim',
  bnb_4bit_use_double_quant: 'use_bnb_nested_quant', double_quantization: 'use_bnb_nested_quant', quantization_type: 'bnb_4bit_quant_type',
  lora_rank: 'lora_r', lora_target: 'lora_target_modules',
  evaluation_strategy: 'eval_strategy', train_split: 'dataset_train_split', eval_split: 'dataset_test_split', name: 'dataset_name',
  preprocessing_num_workers: 'dataset_num_proc', dataset_processes: 'dataset_num_proc',
};

/** Aliases that give way where our name stands in the file, too: no result hangs on them. Any other key given twice is an error. */
export const YIELDING: ReadonlySet<string> = new Set(['preprocessing_num_workers', 'dataset_processes']);

/** Nested forms (the official ε-DPO repository's): a section's keys are taken as if they stood at the top. */
export const SECTIONS: Record<string, Record<string, string>> = {
  model: { pretrained_model_name_or_path: 'model_name_or_path', torch_dtype: 'dtype', dtype: 'dtype', attn_implementation: 'attn_implementation', revision: 'model_revision' },
  dataset: { name: 'dataset_name', path: 'dataset_name', train_split: 'dataset_train_split', eval_split: 'dataset_test_split', revision: 'dataset_revision' },
  training_args: {},
};

const ONE_GPU = 'one process, one GPU';
const NO_UPLOAD = 'edpo does not upload';
const NO_PADDING = 'nothing is ever padded';

/** Keys that other trainers need and edpo does not: accepted, not used, and why. */
export const IGNORED: Record<string, string> = {
  attn_implementation: 'edpo has one attention', use_flash_attention_2: 'edpo has one attention', use_cache: 'training keeps no cache of keys and values', trust_remote_code: 'edpo never runs code from a checkpoint', use_fast_tokenizer: 'there is one tokenizer',
  bf16: 'arithmetic is dtype’s, float32 or mixed_f16 (WebGPU has no bfloat16); weights are written in the base’s format', fp16: 'arithmetic is dtype’s, float32 or mixed_f16', tf32: 'arithmetic is dtype’s, float32 or mixed_f16', use_liger_kernel: 'edpo’s kernels never hold all logits anyway',
  gradient_checkpointing_kwargs: 'these are PyTorch’s; gradient_checkpointing_granularity is edpo’s', per_device_eval_batch_size: 'evaluation packs by token_budget', eval_batch_size: 'evaluation packs by token_budget', precompute_ref_batch_size: 'precompute packs by token_budget',
  precompute_ref_log_probs: 'ref_mode decides: cache precomputes (also for epsilon_dpo), live does not', padding_free: NO_PADDING, label_pad_token_id: NO_PADDING, padding_value: NO_PADDING, pad_token: NO_PADDING, pad_to_multiple_of: NO_PADDING, group_by_length: NO_PADDING,
  logging_first_step: 'the first step is always logged', logging_strategy: 'by logging_steps', logging_dir: 'logs are written into output_dir', log_level: 'progress goes to stderr', log_level_replica: ONE_GPU, disable_tqdm: '--quiet does that', wandb_entity: 'edpo uploads no logs', wandb_project: 'edpo uploads no logs', wandb_run_group: 'edpo uploads no logs', project: 'edpo uploads no logs', trackio_space_id: 'edpo uploads no logs',
  push_to_hub: NO_UPLOAD, hub_model_id: NO_UPLOAD, hub_strategy: NO_UPLOAD, hub_model_revision: NO_UPLOAD, hub_private_repo: NO_UPLOAD, hub_always_push: NO_UPLOAD, hub_token: 'HF_TOKEN is the token edpo uses, for downloads', push_to_hub_token: NO_UPLOAD, push_to_hub_model_id: NO_UPLOAD, push_to_hub_organization: NO_UPLOAD, overwrite_hub_revision: NO_UPLOAD, push_to_hub_revision: NO_UPLOAD,
  deepspeed: ONE_GPU, fsdp: ONE_GPU, fsdp_config: ONE_GPU, ddp_timeout: ONE_GPU, ddp_find_unused_parameters: ONE_GPU, ddp_backend: ONE_GPU, local_rank: ONE_GPU,
  dataloader_num_workers: 'reading is streamed', dataloader_prefetch_factor: 'reading is streamed', dataloader_persistent_workers: 'reading is streamed', streaming: 'reading is streamed', dataset_streaming: 'reading is streamed', dataloader_pin_memory: 'reading is streamed', dataloader_drop_last: 'a short last batch is a step', remove_unused_columns: 'only known columns are read',
  do_train: 'the command says what is done', do_eval: 'eval_strategy decides', save_safetensors: 'always', save_only_model: 'a checkpoint always resumes', full_determinism: 'always, on one adapter', env: 'edpo sets no environment variables from a file',
  max_completion_length: 'max_length bounds prompt + response', max_target_length: 'max_length bounds prompt + response', generate_during_eval: 'edpo eval-winrate samples', model_init_kwargs: 'edpo reads config.json', ref_model_init_kwargs: 'edpo reads config.json', torch_compile: 'there is no PyTorch here',
  benchmarks: 'edpo runs no benchmarks', callbacks: 'edpo has no callbacks', force_use_ref_model: 'ref_model_name_or_path decides', is_encoder_decoder: 'edpo reads config.json', ignore_bias_buffers: 'there is no PyTorch here', torch_empty_cache_steps: 'there is no PyTorch here', torch_compile_backend: 'there is no PyTorch here', torch_compile_mode: 'there is no PyTorch here',
  lora_task_type: 'adapters are those of a language model (CAUSAL_LM)',
  bnb_4bit_compute_dtype: 'arithmetic is dtype’s, float32 or mixed_f16', bnb_4bit_quant_storage: 'packing is edpo’s own', llm_int8_threshold: 'activations are not quantised, so no outliers are kept apart', llm_int8_has_fp16_weight: 'frozen weights are kept once',
};

/**
 * Keys whose effect edpo does not have: leaving them out would train something else, so a value that asks for the effect
 * is an error. `neutral` values (and null, false, 0, none, []) ask for nothing.
 */
export const UNAVAILABLE: Record<string, { why: string; neutral?: unknown[] }> = {
  use_dora: { why: 'DoRA is not available; LoRA is' },
  quantization_bit: { why: 'say load_in_4bit: true or load_in_8bit: true' },
  llm_int8_skip_modules: { why: 'the matrices of all layers are quantised, embeddings and head never' },
  reference_free: { why: 'a method without a reference has a loss_type of its own; see loss_type' },
  neftune_noise_alpha: { why: 'noise on embeddings is not available' },
  label_smoothing_factor: { why: 'this is transformers’ smoothing of token labels; DPO’s is label_smoothing' },
  dataset_config: { why: 'say data_dir: the folder of that configuration (or data_files)', neutral: ['default'] },
  tokenizer_name_or_path: { why: 'the tokenizer is the model folder’s; put the other one’s files there' },
  auto_insert_empty_system_msg: { why: 'say it in chat_template (a Jinja file that begins with an empty system message)' },
  system_prompt: { why: 'say it in chat_template' },
  decontaminate: { why: 'edpo takes rows as they are: filter the data before' },
  packing: { why: 'documents never run into each other here' },
  model_adapter_name: { why: 'a run has one adapter (adapter_name_or_path)' },
  ref_adapter_name: { why: 'the reference is the base without adapters; ref_model_name_or_path may name another one, also an adapter’s folder' },
  excess_length_strategy: { why: 'say truncation_mode: drop, keep_start or error' },
  evals_per_epoch: { why: 'say eval_strategy: steps and eval_steps as a share of all steps, e.g. 0.2' },
  saves_per_epoch: { why: 'say save_steps as a share of all steps, e.g. 0.2' },
  auto_resume_from_checkpoints: { why: 'say --resume when there is something to resume' },
};

/** Does this value of a key of UNAVAILABLE ask for nothing? */
export const isNeutral = (name: string, value: unknown): boolean =>
  value === null || value === false || value === 0 || value === 'none' || value === '' || (Array.isArray(value) && value.length === 0) || (UNAVAILABLE[name]?.neutral ?? []).includes(value);
