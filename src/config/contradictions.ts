import { dataSources } from './contradictions_data.js';
import { generation } from './contradictions_generation.js';
import { method } from './contradictions_method.js';
import { reference } from './contradictions_reference.js';
import { evaluations, processes } from './contradictions_run.js';
import { batch, lora, microBatch, optimiser, schedule, storage } from './contradictions_training.js';
import type { Places, Purpose, Report } from './contradictions_types.js';
import type { RunConfig } from './keys.js';
import { needs } from './needs.js';
import type { Problem } from './problems.js';

/**
 * Keys that exclude each other, values that make no sense together, keys a command needs or does not use.
 * `bad` keys (already reported; `c` holds their defaults) take part in no check.
 */
export function contradictions(c: RunConfig, given: Places, bad: ReadonlySet<string>, purpose: Purpose): { problems: Problem[]; notes: string[] } {
  const problems: Problem[] = [];
  const notes: string[] = [];
  /** Reports at the first of `keys` that was given, unless one of them is broken itself. */
  const add: Report = (keys, what) => {
    if (keys.some((k) => bad.has(k))) return;
    const at = keys.find((k) => given.has(k)) ?? keys[0]!;
    problems.push({ key: at, what, where: given.get(at)?.where ?? '' });
  };

  batch(c, given, add);
  if (c.dtype === 'mixed_f16' && (purpose === 'generate' || purpose === 'eval-winrate')) notes.push('dtype: mixed_f16 is for training and scoring; generation computes in float32');
  const loss = method(c, given, bad, purpose, add, notes);
  if (c.max_length > 0 && c.max_prompt_length >= c.max_length && given.has('max_prompt_length')) add(['max_prompt_length', 'max_length'], `max_prompt_length ${c.max_prompt_length} leaves no room for a response within max_length ${c.max_length}`);
  evaluations(c, given, purpose, add, notes);
  schedule(c, given, add, notes);
  if (c.overwrite_output_dir && c.resume_from_checkpoint !== undefined && c.resume_from_checkpoint !== false) notes.push('overwrite_output_dir: not used (resume_from_checkpoint continues the run that is there)');
  reference(c, loss, given, purpose, add, notes);
  generation(c, loss, purpose, add);
  dataSources(c, given, add, notes);
  optimiser(c, given, purpose, add, notes);
  microBatch(c, purpose, add, notes);
  lora(c, given, purpose, add, notes);
  storage(c, purpose, add, notes);
  processes(c, given, add);
  if (purpose !== 'config') problems.push(...needs(c, given, bad, purpose));
  return { problems, notes };
}
