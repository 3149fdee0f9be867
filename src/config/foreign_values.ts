/** Values of ours under other names. */
export const VALUE_ALIASES: Record<string, Record<string, { as: string; why: string }>> = {
  optim: {
    adamw_torch_fused: { as: 'adamw_torch', why: 'the same algorithm' }, adamw_hf: { as: 'adamw_torch', why: 'the same algorithm' }, adamw: { as: 'adamw_torch', why: 'the same algorithm' },
    adamw_torch_xla: { as: 'adamw_torch', why: 'the same algorithm' }, paged_adamw: { as: 'adamw_torch', why: 'the same algorithm; nothing is paged' }, paged_adamw_32bit: { as: 'adamw_torch', why: 'the same algorithm; nothing is paged' },
    adamw_bnb_8bit: { as: 'adamw_8bit', why: 'the same algorithm' }, paged_adamw_8bit: { as: 'adamw_8bit', why: 'the same algorithm; nothing is paged' },
  },
};

/** Values that other trainers know and edpo does not (yet): refused with the reason instead of a bare list of values. */
export const REFUSED_VALUES: Record<string, Record<string, string>> = {
  bnb_4bit_quant_type: { fp4: 'is not available; nf4 keeps more of the weights in as many bits' },
  truncation_mode: { keep_end: 'is refused: prompts always keep their end (max_prompt_length); say what happens to a row over max_length: drop, keep_start or error' },
  adapter: { lora: 'names no GPU: here adapter chooses the graphics adapter; LoRA is use_peft: true', qlora: 'names no GPU: here adapter chooses the graphics adapter; LoRA is use_peft: true, QLoRA with load_in_4bit: true' },
};

/** Trackers that `report_to` names elsewhere: edpo talks to no service. */
export const TRACKERS = ['wandb', 'trackio', 'mlflow', 'comet_ml', 'clearml', 'neptune', 'swanlab', 'azure_ml', 'codecarbon', 'dagshub', 'dvclive', 'flyte'];
