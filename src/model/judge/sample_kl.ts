import type { Gpu } from '../../gpu/device.js';
import { Engine } from '../engine.js';
import { sft } from '../losses/sft.js';
import type { LossDefinition, LossSettings } from '../losses/types.js';
import type { Parameters } from '../parameters.js';
import { sequenceCapacity } from '../session.js';
import { evaluate } from '../train/evaluate.js';
import { noReferenceRows, type DocumentSource } from '../train/types.js';

/** A sampled answer as tokens, its end token included where it ended. */
export interface Sample {
  id: number;
  prompt: number[];
  answer: number[];
}

/** Sequence KL(policy‖reference) on the policy's own samples, nats per answer (losses.md 1.8), with standard errors over prompts. */
export interface SampleKl {
  /** mean_x Σ_t [log π(y_t) − log ρ(y_t)] */
  kl_monte_carlo: number;
  kl_monte_carlo_se: number;
  /** Rao-Blackwellised: mean_x Σ_t KL(π_t‖ρ_t); the same expectation, less variance. */
  kl: number;
  kl_se: number;
  /** mean_x Σ_t KL(ρ_t‖π_t) */
  kl_ref_policy: number;
  mean_tokens: number;
}

/** Scores single answers, with the reference's whole distribution beside them; nothing is trained. */
const scoring: LossDefinition = { ...sft, name: 'sample_kl', needs: { ...sft.needs, reference: 'hidden' } };
const settings: LossSettings = { beta: 1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0, params: {}, criterionColumns: true };

/**
 * @param tokenBudget token rows of a micro-batch; grown to the longest sample where that is longer.
 * @param realign λ of the realigned policy that sampled
 */
export async function sampleKl(gpu: Gpu, policy: Parameters, reference: Parameters, samples: Sample[], tokenBudget: number, realign?: number): Promise<SampleKl> {
  const used = samples.filter((s) => s.answer.length > 0);
  const length = (s: Sample): number => s.prompt.length + s.answer.length;
  const rows = Math.max(tokenBudget, ...used.map(length));
  const source: DocumentSource = {
    count: used.length,
    id: (i) => used[i]!.id,
    rows: (i) => length(used[i]!),
    tokens: (i) => used[i]!.answer.length,
    chosenTokens: (i) => used[i]!.answer.length,
    document: (i) => ({ id: used[i]!.id, prompt: used[i]!.prompt, branches: [used[i]!.answer] }),
  };
  const engine = await new Engine({ gpu, policy, loss: scoring, settings, reference: { kind: 'live', parameters: reference }, capacity: { rows, sequences: sequenceCapacity(rows) }, training: false, realign }).ready();
  engine.setState(1);
  const differences: number[] = [];
  const forward: number[] = [];
  const reverse: number[] = [];
  await evaluate(engine, source, noReferenceRows, {
    step: 0, reference: true, hidden: true,
    each: (r) => {
      differences.push(r.policy_logps_chosen! - r.ref_logps_chosen!);
      forward.push(r.kl_policy_ref_chosen!);
      reverse.push(r.kl_ref_policy_chosen!);
    },
  });
  // An empty answer is at no distance from the reference.
  const n = samples.length;
  const mean = (x: number[]): number => x.reduce((a, b) => a + b, 0) / n;
  const error = (x: number[]): number => {
    const m = mean(x);
    return Math.sqrt((x.reduce((a, b) => a + (b - m) ** 2, 0) + (n - x.length) * m * m) / (n - 1) / n);
  };
  return {
    kl_monte_carlo: mean(differences), kl_monte_carlo_se: error(differences), kl: mean(forward), kl_se: error(forward), kl_ref_policy: mean(reverse),
    mean_tokens: mean(used.map((s) => s.answer.length)),
  };
}
