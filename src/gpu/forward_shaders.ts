import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Shaders whose text decides no log-prob: those of gradients, optimisers, benchmarks and tests. */
const ELSEWHERE = /(^|\/)(bench|test)\/|\.bwd|_(dq|dkv)\.wgsl$|(^|\/)(adamw|adafactor|sgd|grad_norm|step_state|operand_scales)/;

/** edpo's own digest: its files are read once. */
let own: string | undefined;

/**
 * Which revision of the forward pass's kernels this edpo has, as 12 hex digits: a cache made by another one may differ from a run's own log-probs in the last
 * bits, so that a policy equal to its reference would not tie. Comments do not count.
 * @param folder of WGSL files; edpo's own where absent
 */
export function forwardShaders(folder?: string): string {
  if (folder === undefined) return (own ??= forwardShaders(fileURLToPath(import.meta.resolve('#shaders/rope.wgsl')).replace(/rope\.wgsl$/, '')));
  const hash = createHash('sha256');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/')).filter((name) => name.endsWith('.wgsl') && !ELSEWHERE.test(name)).sort();
  for (const name of files) {
    const text = readFileSync(join(folder, name), 'utf8').split('\n').map((line) => line.replace(/\/\/ (?!#(use|for|end)).*$/, '').trimEnd()).filter((line) => line !== '').join('\n');
    hash.update(`${name}\n${text}\n`);
  }
  return hash.digest('hex').slice(0, 12);
}
