import { hasData } from './contradictions_data.js';
import type { Places } from './contradictions_types.js';
import { META, type Command, type RunConfig } from './keys.js';
import type { Problem } from './problems.js';

/** Keys a command cannot do without: one of each group. */
const REQUIRED: Record<Command, Array<Array<keyof RunConfig>>> = (() => {
  const model: Array<keyof RunConfig> = ['model_name_or_path'];
  const data: Array<keyof RunConfig> = ['dataset_name', 'data_files', 'dataset_mixture'];
  const out: Array<keyof RunConfig> = ['output_dir'];
  return {
    train: [model, data, out], sft: [model, data, out], eval: [model, data, out], 'precompute-ref': [model, data, ['ref_cache', 'output_dir']],
    'eval-winrate': [out, ['judge']], generate: [model, ['prompt', 'prompts_file']], plan: [model], inspect: [model, data], merge: [model, out],
  };
})();

/** A win rate of answers in files needs neither model nor data; a model may answer the instructions of the baseline's file. */
function winRateNeeds(c: RunConfig): Array<Array<keyof RunConfig>> {
  const data: Array<keyof RunConfig> = ['dataset_name', 'data_files', 'dataset_mixture'];
  if (c.outputs !== undefined && !hasData(c)) return [];
  return hasData(c) || c.questions !== undefined || c.baseline !== 'chosen' ? [['model_name_or_path']] : [['model_name_or_path'], [...data, 'questions']];
}

/** Keys a command cannot do without, and flags it does not use (keys of a shared YAML may belong to other commands). */
export function needs(c: RunConfig, given: Places, bad: ReadonlySet<string>, command: Command): Problem[] {
  const found: Problem[] = [];
  for (const group of [...(command === 'eval-winrate' ? winRateNeeds(c) : []), ...REQUIRED[command]]) {
    // Judgments already made need nobody to make them.
    if (command === 'eval-winrate' && c.judgments !== undefined) continue;
    // Merging shards reads nothing but the cache folder.
    if (c.merge_shards && command === 'precompute-ref' && !group.includes('ref_cache')) continue;
    if (group.some((k) => c[k] !== undefined || bad.has(k))) continue;
    found.push({ key: group[0]!, what: group.length > 1 ? `is required (or ${group.slice(1).join(', ')})` : 'is required', where: '' });
  }
  if (command === 'generate' && c.prompt !== undefined && c.prompts_file !== undefined) found.push({ key: 'prompt', what: 'prompt and prompts_file are both given; keep one', where: given.get('prompt')?.where ?? '' });
  for (const [name, { where }] of given) {
    const meta = META[name];
    if (meta && where.startsWith('--') && !meta.commands.includes(command)) found.push({ key: name, what: `is not used by edpo ${command} (but by ${meta.commands.join(', ')})`, where });
  }
  return found;
}
