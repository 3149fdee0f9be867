import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Shaders, and modules that write a part of one, whose text decides no log-prob: those of gradients, losses, optimisers, benchmarks and tests. */
const ELSEWHERE = /(^|\/)(bench|test)\/|\.bwd|_(dq|dkv)\.wgsl$|(^|\/)(adamw|adafactor|sgd|grad_norm|step_state|operand_scales|master|beta_update|document_|group_stats|filled|product_sum|blocks_8bit)/;

const folderOf = (path: string): string => path.replace(/[^/\\]+$/, '');
/** Where edpo's own are: WGSL, and the compiled modules of the kernels. */
export const forwardFolders = (): { shaders: string; ops: string } => ({ shaders: folderOf(fileURLToPath(import.meta.resolve('#shaders/rope.wgsl'))), ops: fileURLToPath(new URL('./ops/', import.meta.url)) });

/** edpo's own digest: its files are read once. */
let own: string | undefined;

/**
 * Which revision of the forward pass's kernels this edpo has, as 12 hex digits: a cache made by another one may differ from a run's own log-probs in the last
 * bits, so that a policy equal to its reference would not tie. Parts of shaders are written by the modules that record them, which count too; comments do not.
 * @param folders of WGSL files and of compiled modules; edpo's own where absent
 */
export function forwardShaders(folders?: { shaders: string; ops: string }): string {
  if (folders === undefined) return (own ??= forwardShaders(forwardFolders()));
  const hash = createHash('sha256');
  const add = (folder: string, ending: string, comments: RegExp): void => {
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/')).filter((name) => name.endsWith(ending) && !ELSEWHERE.test(name)).sort();
    for (const name of files) {
      const text = readFileSync(join(folder, name), 'utf8').replace(comments, '').split('\n').map((line) => line.trimEnd()).filter((line) => line !== '').join('\n');
      hash.update(`${name}\n${text}\n`);
    }
  };
  add(folders.shaders, '.wgsl', /\/\/ (?!#(use|for|end)).*$/gm);
  add(folders.ops, '.js', /^\s*(\/\*[^]*?\*\/|\/\/.*$)/gm);
  return hash.digest('hex').slice(0, 12);
}
