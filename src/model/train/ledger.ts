/**
 * One line of `pairs.ndjson` (design 8). Null: not computed by this method's head, or no such side: a single response with a label is the chosen side where
 * it is desirable, else the rejected one. A method's own number (`column`) follows under its name.
 */
export interface PairRecord {
  id: number;
  step: number;
  policy_logps_chosen: number | null;
  policy_logps_rejected: number | null;
  ref_logps_chosen: number | null;
  ref_logps_rejected: number | null;
  tokens_prompt: number;
  tokens_chosen: number | null;
  tokens_rejected: number | null;
  margin: number | null;
  logratio: number | null;
  delta_plus: number | null;
  delta_minus: number | null;
  epsilon_step: number | null;
  beta: number | null;
  loss: number;
  loss_dpo: number | null;
  reward_chosen: number | null;
  reward_rejected: number | null;
  kl_policy_ref_chosen: number | null;
  kl_policy_ref_rejected: number | null;
  kl_ref_policy_chosen: number | null;
  kl_ref_policy_rejected: number | null;
  entropy_chosen: number | null;
  entropy_rejected: number | null;
  /** 1 where an exponent of a score of an f-divergence was held at its limit; only of losses with such scores. */
  score_held?: number;
}

const isNumber = (x: number | null): x is number => x !== null;

/** Mean of the numbers there are; undefined where there are none. */
export function mean(values: Iterable<number | null>): number | undefined {
  let sum = 0;
  let n = 0;
  for (const v of values) {
    if (!isNumber(v)) continue;
    sum += v;
    n++;
  }
  return n === 0 ? undefined : sum / n;
}

const difference = (a: number | null, b: number | null): number | null => (isNumber(a) && isNumber(b) ? a - b : null);

/**
 * Batch metrics under TRL's and the official ε-DPO code's names (losses.md 3), as plain means over pairs: not means of
 * micro-batch means, so that they do not depend on packing. A tie in reward counts as wrong, as in TRL.
 */
export function pairMetrics(pairs: PairRecord[]): Record<string, number> {
  const of = (pick: (p: PairRecord) => number | null): number | undefined => mean(pairs.map(pick));
  const share = (want: number): number | undefined => of((p) => (isNumber(p.epsilon_step) ? Number(p.epsilon_step === want) : null));
  const entries: Array<[string, number | undefined]> = [
    ['loss', of((p) => p.loss)],
    ['loss_dpo', of((p) => p.loss_dpo)],
    ['rewards/chosen', of((p) => p.reward_chosen)],
    ['rewards/rejected', of((p) => p.reward_rejected)],
    ['rewards/accuracies', of((p) => (isNumber(p.reward_chosen) && isNumber(p.reward_rejected) ? Number(p.reward_chosen > p.reward_rejected) : null))],
    ['rewards/margins', of((p) => difference(p.reward_chosen, p.reward_rejected)) ?? betweenKinds(pairs)],
    ['logps/chosen', of((p) => p.policy_logps_chosen)],
    ['logps/rejected', of((p) => p.policy_logps_rejected)],
    ['margin', of((p) => p.margin)],
    ['kl/p_epsilon_steps', share(1)],
    ['kl/n_epsilon_steps', share(-1)],
    ['kl/zero_epsilon_steps', share(0)],
    ['kl/avg_steps', of((p) => p.epsilon_step)],
    ['kl/abs_delta_plus', of((p) => (isNumber(p.delta_plus) ? Math.abs(p.delta_plus) : null))],
    ['kl/policy_ref_chosen', of((p) => p.kl_policy_ref_chosen)],
    ['kl/policy_ref_rejected', of((p) => p.kl_policy_ref_rejected)],
    ['kl/ref_policy_chosen', of((p) => p.kl_ref_policy_chosen)],
    ['kl/ref_policy_rejected', of((p) => p.kl_ref_policy_rejected)],
    ['entropy', entropyPerToken(pairs)],
    ['divergence/held', of((p) => p.score_held ?? null)],
    ['tokens/prompt', of((p) => p.tokens_prompt)],
    ['tokens/chosen', of((p) => p.tokens_chosen)],
    ['tokens/rejected', of((p) => p.tokens_rejected)],
  ];
  return Object.fromEntries(entries.filter((e): e is [string, number] => e[1] !== undefined));
}

/** Single responses: the mean reward of the desirable ones less that of the others, as TRL's KTO logs it; undefined where a kind is missing. */
function betweenKinds(pairs: PairRecord[]): number | undefined {
  const [chosen, rejected] = [mean(pairs.map((p) => p.reward_chosen)), mean(pairs.map((p) => p.reward_rejected))];
  return chosen === undefined || rejected === undefined ? undefined : chosen - rejected;
}

/** Σ entropy / Σ tokens over both responses, nats (TRL's definition). */
function entropyPerToken(pairs: PairRecord[]): number | undefined {
  let sum = 0;
  let tokens = 0;
  for (const p of pairs) {
    if (isNumber(p.entropy_chosen) && isNumber(p.tokens_chosen)) {
      sum += p.entropy_chosen;
      tokens += p.tokens_chosen;
    }
    if (isNumber(p.entropy_rejected) && isNumber(p.tokens_rejected)) {
      sum += p.entropy_rejected;
      tokens += p.tokens_rejected;
    }
  }
  return tokens === 0 ? undefined : sum / tokens;
}

/** Standard error of the accuracy over n pairs, as a share. */
export const accuracyError = (accuracy: number, n: number): number => Math.sqrt((accuracy * (1 - accuracy)) / Math.max(1, n));
