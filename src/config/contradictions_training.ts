import type { Places, Purpose, Report } from './contradictions_types.js';
import { hasData } from './contradictions_data.js';
import { defaultOf } from './expect.js';
import type { RunConfig } from './keys.js';

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
export function storage(c: RunConfig, given: Places, purpose: Purpose, add: Report, notes: string[]): void {
  const trains = trainsBy(c, purpose);
  if (c.load_in_4bit && c.load_in_8bit) add(['load_in_8bit', 'load_in_4bit'], 'load_in_4bit and load_in_8bit are both true; keep one');
  for (const key of ['load_in_4bit', 'load_in_8bit'] as const) if (c[key] && trains && !c.use_peft) add([key, 'use_peft'], `needs use_peft: true (${key === 'load_in_4bit' ? 'QLoRA' : 'LoRA on an 8-bit base'}): quantised weights stay as they are, only adapters on them are trained`);
  // Trained bf16 weights begin equal to a reference in bf16: there it is the reference's format.
  if ((c.base_dtype === 'float16' || (c.base_dtype === 'bfloat16' && c.master_dtype !== 'bfloat16')) && trains && !c.use_peft) add(['base_dtype', 'use_peft'], `is how frozen weights are kept, and without use_peft: true all are trained, as master_dtype says, got ${c.base_dtype}`);
  if (c.use_bnb_nested_quant && !c.load_in_4bit) notes.push('use_bnb_nested_quant: not used (only has an effect with load_in_4bit)');
}
