import type { Places, Purpose, Report } from './contradictions_types.js';
import { hasData } from './contradictions_data.js';
import { defaultOf } from './expect.js';
import { AUTO_BUDGET, type RunConfig } from './keys.js';

/** Documents of an optimiser step, said in two ways. */
export function batch(c: RunConfig, given: Places, add: Report): void {
  const product = c.per_device_train_batch_size * c.gradient_accumulation_steps;
  if (c.total_batch_size !== undefined && (given.has('per_device_train_batch_size') || given.has('gradient_accumulation_steps')) && product !== c.total_batch_size) {
    add(['total_batch_size', 'per_device_train_batch_size', 'gradient_accumulation_steps'], `is ${c.total_batch_size}, but per_device_train_batch_size × gradient_accumulation_steps is ${product}; give one of the two`);
  }
}

/** The learning rate’s course, and how long it is. */
export function schedule(c: RunConfig, given: Places, add: Report, notes: string[]): void {
  if (c.warmup_steps > 0 && c.warmup_ratio > 0) notes.push(`warmup_ratio: not used (warmup_steps ${c.warmup_steps} wins, as in transformers)`);
  if (c.lr_scheduler_type === 'constant' && (c.warmup_steps > 0 || c.warmup_ratio > 0)) notes.push('warmup_steps, warmup_ratio: not used (lr_scheduler_type constant has no warm-up; constant_with_warmup has)');
  const { min_lr, min_lr_rate, num_cycles } = c.lr_scheduler_kwargs ?? {};
  if (c.lr_scheduler_type === 'cosine_with_min_lr') {
    if ((min_lr === undefined) === (min_lr_rate === undefined)) add(['lr_scheduler_kwargs', 'lr_scheduler_type'], `lr_scheduler_type cosine_with_min_lr needs one of min_lr and min_lr_rate in lr_scheduler_kwargs, got ${min_lr === undefined ? 'none' : 'both'}`);
    else if (min_lr !== undefined && min_lr > c.learning_rate) add(['lr_scheduler_kwargs', 'learning_rate'], `min_lr ${min_lr} is above learning_rate ${c.learning_rate}`);
  } else {
    if (min_lr !== undefined || min_lr_rate !== undefined) add(['lr_scheduler_kwargs', 'lr_scheduler_type'], `min_lr and min_lr_rate belong to cosine_with_min_lr, got lr_scheduler_type: ${c.lr_scheduler_type}`);
    if (num_cycles !== undefined && c.lr_scheduler_type !== 'cosine') add(['lr_scheduler_kwargs', 'lr_scheduler_type'], `num_cycles belongs to cosine, got lr_scheduler_type: ${c.lr_scheduler_type}`);
  }
  if (c.max_steps > 0 && given.has('num_train_epochs')) notes.push(`num_train_epochs: not used (max_steps ${c.max_steps} wins, as in transformers)`);
}

/** Keys that one optimiser reads and another does not. */
export function optimiser(c: RunConfig, given: Places, purpose: Purpose, add: Report, notes: string[]): void {
  if (c.optim !== 'sgd' && c.sgd_momentum > 0) add(['sgd_momentum', 'optim'], `belongs to optim: sgd, got optim: ${c.optim}`);
  if (c.master_dtype === 'bfloat16' && trainsBy(c, purpose)) {
    if (c.use_peft) add(['master_dtype', 'use_peft'], 'is how trained weights are kept, and adapters are trained in float32 (they are few); the frozen base is kept as base_dtype, load_in_8bit or load_in_4bit say');
    if (c.dtype === 'mixed_f16') add(['master_dtype', 'dtype'], 'bfloat16 has no f16 copies beside it, which dtype: mixed_f16 multiplies with; give one of the two');
    if (c.sync_ref_model) add(['master_dtype', 'sync_ref_model'], 'bfloat16 and a reference that moves (kept in float32) are not mixed yet; give one of the two');
  }
  if (c.optim !== 'sgd' && c.optim !== 'adafactor') return;
  const unused = (['adam_beta1', 'adam_beta2', 'adam_epsilon'] as const).filter((k) => given.has(k) && c[k] !== defaultOf(k));
  if (unused.length > 0) notes.push(`${unused.join(', ')}: not used (optim is ${c.optim})`);
}

/** Does the configuration choose how to train? A plan without data shows a model with adapters and without. */
const trainsBy = (c: RunConfig, purpose: Purpose): boolean =>
  purpose === 'train' || purpose === 'sft' || purpose === 'config' || (purpose === 'plan' && hasData(c));

/** Keys that say something of adapters alone. */
const LORA_KEYS = ['lora_r', 'lora_alpha', 'lora_target_modules', 'lora_dropout', 'use_rslora', 'lora_modules_to_save'] as const;

export function lora(c: RunConfig, given: Places, purpose: Purpose, add: Report, notes: string[]): void {
  const trains = trainsBy(c, purpose);
  if (c.use_peft) {
    if (given.has('lora_dropout') && c.lora_dropout > 0 && c.disable_dropout && purpose !== 'sft') notes.push('lora_dropout: not used (disable_dropout is true, as TRL’s DPO trainer has it too; --disable_dropout false)');
    if (c.sync_ref_model) add(['sync_ref_model', 'use_peft'], 'moves the reference’s weights, which adapters leave frozen; give one of the two');
  } else {
    const unused = LORA_KEYS.filter((k) => given.has(k) && c[k] !== defaultOf(k));
    if (unused.length > 0 && trains) notes.push(`${unused.join(', ')}: not used (only has an effect with use_peft)`);
  }
  if (c.ref_mode !== 'adapter_off') return;
  if (c.ref_model_name_or_path !== undefined) add(['ref_mode', 'ref_model_name_or_path'], 'adapter_off takes the policy’s base as the reference, and ref_model_name_or_path names another one; give one of the two');
  if (!c.use_peft && trains) add(['ref_mode', 'use_peft'], 'adapter_off is for LoRA (use_peft: true); live runs a reference of its own');
}

/** How frozen weights are kept: what is trained in full is not among them. */
export function storage(c: RunConfig, purpose: Purpose, add: Report, notes: string[]): void {
  const trains = trainsBy(c, purpose);
  if (c.load_in_4bit && c.load_in_8bit) add(['load_in_8bit', 'load_in_4bit'], 'load_in_4bit and load_in_8bit are both true; keep one');
  for (const key of ['load_in_4bit', 'load_in_8bit'] as const) if (c[key] && trains && !c.use_peft) add([key, 'use_peft'], `needs use_peft: true (${key === 'load_in_4bit' ? 'QLoRA' : 'LoRA on an 8-bit base'}): quantised weights stay as they are, only adapters on them are trained`);
  // Trained bf16 weights begin equal to a reference in bf16: there it is the reference's format.
  if ((c.base_dtype === 'float16' || (c.base_dtype === 'bfloat16' && c.master_dtype !== 'bfloat16')) && trains && !c.use_peft) add(['base_dtype', 'use_peft'], `is how frozen weights are kept, and without use_peft: true all are trained, as master_dtype says, got ${c.base_dtype}`);
  if (c.use_bnb_nested_quant && !c.load_in_4bit) notes.push('use_bnb_nested_quant: not used (only has an effect with load_in_4bit)');
}

/** Rows of a micro-batch, and what it keeps for the backward pass. */
export function microBatch(c: RunConfig, purpose: Purpose, add: Report, notes: string[]): void {
  if (c.token_budget === AUTO_BUDGET && purpose !== 'train' && purpose !== 'sft' && purpose !== 'config' && !(purpose === 'plan' && c.gpu_memory !== undefined)) add(['token_budget'], purpose === 'plan' ? 'auto needs gpu_memory here, where there is no GPU to ask' : `auto is for train and sft; give edpo ${purpose} a number of rows (--token_budget 2048)`);
  if (c.token_budget === 1) add(['token_budget'], 'must be 2 at least, or auto');
  if (!c.gradient_checkpointing && c.gradient_checkpointing_granularity !== 'layer') add(['gradient_checkpointing_granularity', 'gradient_checkpointing'], 'says what gradient_checkpointing makes again: set gradient_checkpointing: true');
  if (c.gradient_checkpointing && c.gradient_checkpointing_granularity === 'layer' && c.activation_dtype !== 'float32') notes.push('activation_dtype: not used (gradient_checkpointing keeps the residual stream alone; gradient_checkpointing_granularity: mlp keeps more)');
}
