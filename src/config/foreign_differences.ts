import { own } from './own.js';

interface Difference {
  why: string;
  /** For which values; all but null and false where absent. `given` has the keys the file sets. */
  when?: (value: unknown, given: ReadonlySet<string>) => boolean;
}
const FLOAT32: Difference = { why: 'arithmetic is float32, or with dtype: mixed_f16 f16 products with f32 sums and f32 for all else; WebGPU has no bfloat16; save_dtype chooses the format of written weights, master_dtype: bfloat16 that of trained ones on the GPU' };

/** Keys that are read or left out, and whose run is another one for it: said by `edpo config --explain FILE`. */
const DIFFERENCES: Record<string, Difference> = {
  bf16: FLOAT32, fp16: FLOAT32, tf32: FLOAT32,
  per_device_train_batch_size: { why: 'one process: times the GPUs of the other run (or total_batch_size) for the same optimiser step', when: (_, given) => !given.has('total_batch_size') },
  max_length: { why: 'rows over it are dropped; TRL cuts them (truncation_mode: keep_start)', when: (v, given) => v !== 0 && v !== null && !given.has('truncation_mode') },
  max_completion_length: { why: 'responses are not cut by themselves' },
  max_target_length: { why: 'responses are not cut by themselves' },
  disable_dropout: { why: 'there is no dropout but that of adapters', when: (v, given) => v === false && !given.has('use_peft') },
  dataloader_drop_last: { why: 'the short last batch is trained on, too', when: (v) => v === true },
  group_by_length: { why: 'the order is shuffled by seed and epoch alone', when: (v) => v === true },
  seed: { why: 'the same number gives another order of rows than PyTorch’s generator' },
  data_seed: { why: 'the same number gives another order of rows than PyTorch’s generator' },
  eval_strategy: { why: 'evaluates before the first step, too (eval_on_start: false does not)', when: (v, given) => v !== 'no' && !given.has('eval_on_start') },
  epsilon: { why: 'the criterion compares in float32; the official code compares in bf16 (criterion: bf16-trl)', when: (_, given) => !given.has('criterion') },
  lora_r: { why: 'A begins from other random numbers of the same law than PyTorch’s', when: (_, given) => given.has('use_peft') },
  dataset_mixture: { why: 'rows are drawn and shuffled by edpo’s generator, so the same seed takes others than the datasets library does' },
  trust_remote_code: { why: 'architectures that bring their own code do not load' },
};

/** Why the run is another than the other trainer's for this key, if it is. */
export function differences(name: string, value: unknown, given: ReadonlySet<string>): string | undefined {
  const d = own(DIFFERENCES, name);
  return d && (d.when ? d.when(value, given) : value !== null && value !== false) ? d.why : undefined;
}

/** Keys other trainers' files leave out, with defaults here that do otherwise. */
export const UNSAID: Array<{ key: string; why: string; of?: string }> = [
  { key: 'tokenization', why: 'edpo: EOS is not doubled; trl-0.13 appends it always, as the official code did', of: 'the official ε-DPO code' },
  { key: 'max_length', why: '1024 here (TRL 1.x: 1024, TRL 0.13: no limit, which is 0)' },
];
