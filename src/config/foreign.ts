/** Other trainers' names for keys of ours. */
export const ALIASES: Record<string, string> = {
  torch_dtype: 'dtype', base_model: 'model_name_or_path', pretrained_model_name_or_path: 'model_name_or_path', ref_model: 'ref_model_name_or_path', reference_model_path: 'ref_model_name_or_path',
  pref_loss: 'loss_type', pref_beta: 'beta', rl_beta: 'beta', dpo_beta: 'beta', dpo_label_smoothing: 'label_smoothing',
  cutoff_len: 'max_length', sequence_len: 'max_length', max_seq_length: 'max_length', micro_batch_size: 'per_device_train_batch_size',
  num_epochs: 'num_train_epochs', n_epochs: 'num_train_epochs', lr: 'learning_rate', lr_scheduler: 'lr_scheduler_type', lr_schedule: 'lr_scheduler_type', optimizer: 'optim',
  evaluation_strategy: 'eval_strategy', train_split: 'dataset_train_split', eval_split: 'dataset_test_split', name: 'dataset_name',
};

/** Nested forms (the official ε-DPO repository's): a section's keys are taken as if they stood at the top. */
export const SECTIONS: Record<string, Record<string, string>> = {
  model: { pretrained_model_name_or_path: 'model_name_or_path', torch_dtype: 'dtype', dtype: 'dtype', attn_implementation: 'attn_implementation' },
  dataset: { name: 'dataset_name', path: 'dataset_name', train_split: 'dataset_train_split', eval_split: 'dataset_test_split' },
  training_args: {},
};

/** Keys that other trainers need and edpo does not: accepted, not used, and why. */
export const IGNORED: Record<string, string> = {
  attn_implementation: 'edpo has one attention', trust_remote_code: 'edpo never runs code from a checkpoint', model_revision: 'edpo reads local folders', use_fast_tokenizer: 'there is one tokenizer',
  bf16: 'arithmetic is float32; weights are written in the base’s format', fp16: 'arithmetic is float32', tf32: 'arithmetic is float32',
  gradient_checkpointing_kwargs: 'edpo’s checkpointing has no options', per_device_eval_batch_size: 'evaluation packs by token_budget', precompute_ref_batch_size: 'precompute packs by token_budget',
  precompute_ref_log_probs: 'ref_mode decides: cache precomputes (also for epsilon_dpo), live does not', disable_dropout: 'edpo has no dropout', padding_free: 'nothing is ever padded', pad_token: 'nothing is ever padded',
  report_to: 'edpo writes trainer_log.jsonl', logging_first_step: 'the first step is always logged', logging_strategy: 'by logging_steps', log_level: 'progress goes to stderr', push_to_hub: 'edpo does not upload', hub_model_id: 'edpo does not upload', hub_strategy: 'edpo does not upload',
  deepspeed: 'one process, one GPU', fsdp: 'one process, one GPU', ddp_timeout: 'one process, one GPU', ddp_find_unused_parameters: 'one process, one GPU', ddp_backend: 'one process, one GPU',
  dataloader_num_workers: 'reading is streamed', dataset_num_proc: 'tokenisation is one pass', dataloader_drop_last: 'a short last batch is a step', remove_unused_columns: 'only known columns are read', preprocessing_num_workers: 'tokenisation is one pass',
  do_train: 'the command says what is done', do_eval: 'eval_strategy decides', save_safetensors: 'always', save_only_model: 'a checkpoint always resumes', full_determinism: 'always, on one adapter', reference_free: 'not a method edpo has yet',
  max_completion_length: 'max_length bounds prompt + response', generate_during_eval: 'edpo eval-winrate samples', model_init_kwargs: 'edpo reads config.json', ref_model_init_kwargs: 'edpo reads config.json',
};
