import type { Collected } from './collect.js';
import { put } from './collect.js';
import type { YamlEntry } from './yaml.js';

/** β of SimPO's own code where its file says none. */
const SIMPO_BETA = 2;

/** The form of SimPO's own code: `gamma_beta_ratio` asks for its loss, and its loss_type names the surrogate of that. */
export function isSimpoForm(entries: YamlEntry[]): boolean {
  return entries.some((e) => e.path.length === 1 && e.key === 'gamma_beta_ratio');
}

/** SimPO's loss_type: `sigmoid` is what `simpo` is here; its hinge surrogate is not there. */
export function simpoSurrogate(value: unknown): { value: 'simpo' } | { problem: string } {
  return value === 'sigmoid' || value === 'simpo' ? { value: 'simpo' } : { problem: `with gamma_beta_ratio: expected sigmoid (simpo here), got ${JSON.stringify(value)}` };
}

/** γ = gamma_beta_ratio · β, once β is known from file and flags (SimPO, arXiv 2405.14734, appendix B). */
export function setSimpoMargin(c: Collected): void {
  if (!c.ratio) return;
  const { value, where } = c.ratio;
  if (typeof value !== 'number' || !(value >= 0)) {
    c.problems.push({ key: 'gamma_beta_ratio', what: `expected a number >= 0, got ${JSON.stringify(value)}`, where });
    return;
  }
  if (!c.given.has('loss_type')) {
    c.given.set('loss_type', { value: 'simpo', where });
    c.notes.push('loss_type: simpo (gamma_beta_ratio is of SimPO’s own code, whose loss that is)');
  }
  if (!c.given.has('beta')) {
    c.given.set('beta', { value: SIMPO_BETA, where });
    c.notes.push(`beta: ${SIMPO_BETA} (the default of SimPO’s own code)`);
  }
  const beta = c.given.get('beta')!.value;
  if (typeof beta !== 'number') return;
  put(c, { name: 'simpo_gamma', value: value * beta, notes: [`gamma_beta_ratio: read as simpo_gamma ${value * beta} (times β ${beta})`] }, where);
}
