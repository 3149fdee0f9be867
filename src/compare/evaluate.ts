import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomic } from '../model/files/atomic.js';
import type { Grid, GridRun } from './grid.js';
import { heldout, winrate, type Point } from './points.js';

/** Runs one public command to its end. */
export type Edpo = (args: string[]) => Promise<void>;

export const asArgs = (flags: Record<string, string>): string[] => Object.entries(flags).flatMap(([k, v]) => [`--${k}`, v]);

/** Held-out pairs by `edpo eval`, and the policy's own samples by `edpo eval-winrate`. What is there and was made by the same command stays. */
export async function evaluatePoint(grid: Grid, r: GridRun, p: Point, edpo: Edpo): Promise<void> {
  const c = r.config;
  const reference = c.ref_model_name_or_path ?? c.model_name_or_path!;
  const shared = ['--model_name_or_path', p.model, '--ref_model_name_or_path', reference, ...dataArgs(r), ...(p.realign === undefined ? [] : ['--realign', String(p.realign)]), '--token_budget', String(c.token_budget)];
  const most = c.max_eval_samples > 0 ? [c.eval_data_files ? '--max_train_samples' : '--max_eval_samples', String(c.max_eval_samples)] : [];
  await once(join(heldout(p), 'eval.json'), ['eval', ...shared, ...most, '--loss_type', 'epsilon_dpo', '--beta', String(c.beta), '--epsilon', String(c.epsilon), '--output_dir', heldout(p)], edpo);
  if (grid.winrate) await once(join(winrate(p), 'winrate.json'), ['eval-winrate', ...shared, '--output_dir', winrate(p), ...asArgs({ judge: 'none', seed: String(r.seed), ...grid.winrate })], edpo);
}

/** The held-out data of a run, as edpo eval takes them. */
function dataArgs({ config: c }: GridRun): string[] {
  return [
    ...(c.eval_data_files ? ['--data_files', c.eval_data_files.join(',')] : c.dataset_mixture ? ['--dataset_mixture', JSON.stringify(c.dataset_mixture)] : c.dataset_name ? ['--dataset_name', c.dataset_name] : []),
    ...(c.data_dir ? ['--data_dir', c.data_dir.join(',')] : []), ...(c.eval_data_files || !c.data_files ? [] : ['--data_files', c.data_files.join(',')]),
    '--dataset_format', c.dataset_format, '--tokenization', c.tokenization, '--max_length', String(c.max_length), '--max_prompt_length', String(c.max_prompt_length), '--truncation_mode', c.truncation_mode, '--bad_rows', c.bad_rows,
    ...(c.chat_template ? ['--chat_template', c.chat_template] : []),
  ];
}

/** Runs the command unless `result` is there and came from the same words, which are kept beside it. */
async function once(result: string, args: string[], edpo: Edpo): Promise<void> {
  const kept = `${result}.command`;
  const words = `${JSON.stringify(args)}\n`;
  if (existsSync(result) && existsSync(kept) && readFileSync(kept, 'utf8') === words) return;
  await edpo(args);
  mkdirSync(join(result, '..'), { recursive: true });
  writeAtomic(kept, words);
}
