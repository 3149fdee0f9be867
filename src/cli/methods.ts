import { defaultOf } from '../config/expect.js';
import { KEYS, type KeyName } from '../config/keys.js';
import { losses } from '../model/losses/index.js';
import type { LossDefinition } from '../model/losses/types.js';
import type { CliIo } from './io.js';

const REFERENCE = { none: 'nothing', logps: 'two sums', hidden: 'hidden states' } as const;
/** Whose semantics a loss follows that does not say so itself (losses.md 2.1). */
const TRL = 'TRL since 0.29 (goldens: 1.16)';

/** What is no loss of its own but changes one, or its reference. */
interface Modifier { name: string; keys: string[]; citation: string; formula: string; reference: string; semantics: string }
const MODIFIERS: Modifier[] = [
  { name: 'TR-DPO', keys: ['sync_ref_model', 'ref_model_mixup_alpha', 'ref_model_sync_steps'], citation: 'Gorbatovski et al. 2024, arXiv 2404.09656', formula: 'every τ steps θ_ref ← α θ + (1 - α) θ_ref; α = 1: TR-DPO^τ', reference: 'live', semantics: TRL },
  { name: 'mixture (MPO)', keys: ['loss_type', 'loss_weights'], citation: 'Wang et al. 2024, arXiv 2411.10442', formula: 'Σ w_i ℓ_i; sft in it is the NLL of chosen responses, a mean over the step’s tokens', reference: 'as its losses', semantics: TRL },
  { name: 'RPO', keys: ['rpo_alpha'], citation: 'Pang et al. 2024, arXiv 2404.19733', formula: 'ℓ + α · NLL of the chosen response', reference: 'as its loss', semantics: 'TRL up to 0.28; since 0.29 the mixture sigmoid,sft says the same' },
  { name: 'f-DPO', keys: ['f_divergence_type', 'f_alpha_divergence_coef'], citation: 'Wang et al. 2023, arXiv 2309.16240', formula: 's(u) for u: 1 - e^-u, log 2 + log σ(u), (e^((α-1)u) - 1)/(α-1)', reference: 'two sums', semantics: 'TRL 1.16' },
  { name: 'WPO', keys: ['use_weighting'], citation: 'Zhou et al. 2024, arXiv 2406.11827', formula: 'ω(y_w) ω(y_l) ℓ, ω = exp of the mean of log π(y_t) - log Σ π², detached', reference: 'as its loss', semantics: TRL },
  { name: 'LD-DPO', keys: ['ld_alpha'], citation: 'Liu et al. 2024, arXiv 2409.06411', formula: 'tokens beyond the shorter response weigh α, in policy and reference', reference: 'log-probs a token', semantics: TRL },
  { name: 'length average', keys: ['length_average'], citation: 'LN-DPO, arXiv 2407.15229', formula: 'u/n_w, v/n_l for u, v', reference: 'two sums', semantics: 'the paper' },
];
const known = (keys: string[]): KeyName[] => keys.filter((k): k is KeyName => KEYS.includes(k as KeyName));
const defaultsOf = (keys: KeyName[]): Record<string, unknown> => Object.fromEntries(keys.map((k) => [k, defaultOf(k) ?? null]));

/** What a loss reads besides β, with its defaults. */
const parameters = (l: LossDefinition): Record<string, number> => ({ ...(/\bbeta\b/.test(`${l.functions ?? ''}${l.wgsl}`) ? { beta: Number(defaultOf('beta')) } : {}), ...Object.fromEntries(Object.entries(l.params).map(([k, { default: value }]) => [k, value])) });

/** `edpo methods`: every method with its paper, formula, what it needs of the reference, defaults, and whose semantics it follows. */
export function run(options: { json?: boolean }, io: CliIo): number {
  const list = Object.values<LossDefinition>(losses);
  const modifiers = MODIFIERS.filter((m) => known(m.keys).length === m.keys.length);
  if (options.json) {
    for (const l of list) io.out(JSON.stringify({ name: l.name, kind: 'loss', title: l.title, citation: l.citation, formula: l.formula, responses: l.needs.branches, reference: l.needs.reference, defaults: parameters(l), params: l.params, semantics: l.semantics ?? TRL }));
    for (const m of modifiers) io.out(JSON.stringify({ name: m.name, kind: 'modifier', citation: m.citation, formula: m.formula, reference: m.reference, keys: m.keys, defaults: defaultsOf(known(m.keys)), semantics: m.semantics }));
    return 0;
  }
  for (const l of list) {
    io.out(`${l.name}  (${l.title})`);
    io.out(`    ${l.formula}`);
    io.out(`    ${l.citation}`);
    io.out(`    of the reference: ${REFERENCE[l.needs.reference]}; semantics: ${l.semantics ?? TRL}`);
    for (const [key, value] of Object.entries(parameters(l))) io.out(`    ${key}: ${value}${l.params[key] ? `  ${l.params[key].about}` : ''}`);
  }
  io.out('\nThese change a loss or its reference, and compose:');
  for (const m of modifiers) {
    io.out(`${m.name}  (${m.keys.join(', ')})`);
    io.out(`    ${m.formula}`);
    io.out(`    ${m.citation}; of the reference: ${m.reference}; semantics: ${m.semantics}`);
  }
  io.out(`
Old behaviour of TRL is behind options of its own: label_smoothing with sigmoid, rpo_alpha, tokenization: trl-0.13, criterion: bf16-trl.
u, v: log-ratios of policy and reference summed over the chosen and the rejected response; h = u - v; a, b: the policy’s sums; n_w, n_l: their tokens.`);
  return 0;
}
