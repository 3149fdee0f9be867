/** One document's scalars: summed log-probs a (first branch, chosen), b (second, rejected), the reference's, and token counts. */
export interface DocumentScalars {
  a: number;
  b: number;
  aRef: number;
  bRef: number;
  tokensChosen: number;
  tokensRejected: number;
  /** β of this document. */
  beta: number;
  /** Sums over the tokens of each response of KL(ref‖policy), nats; 0 where the head does not compute them. */
  klChosen: number;
  klRejected: number;
  /** Pairs over chosen tokens of the optimiser step: what turns a sum over tokens into its share of a token mean. */
  perToken: number;
  /** What only some methods ask the head for; absent: 0, and a weight per token of 1. */
  terms?: { chosen: SideTerms; rejected: SideTerms; logVocab: number };
}

/**
 * Sums over the tokens of one response. With token weights ω (`needs.tokenWeights`) the log-probs of `DocumentScalars` are Σ ω log π, the KLs Σ ω' KL;
 * token counts stay counts.
 */
export interface SideTerms {
  /** Σ ω and Σ ω' (the weights of log-probs and of KLs). */
  weight: number;
  klWeight: number;
  /** Σ [log π(y) - log Σ_j π(j)²], constant in the gradient (WPO). */
  sharpness: number;
  /** Σ entropy of the reference, nats. */
  refEntropy: number;
}

/** ∂ℓ/∂logp per token of each branch (c) and the coefficient of KL(ref‖policy) per token (k); losses.md 0. */
export interface DocumentGradients {
  c: [number, number];
  k: [number, number];
}

/** What a method asks of the rest of edpo. */
export interface LossNeeds {
  branches: 1 | 2;
  reference: 'none' | 'logps' | 'hidden';
  /** Rows with a label to predict: the responses, or prompts too. */
  scored: 'response' | 'all';
  normalise: 'pairs' | 'tokens';
  /** There is a gradient through KL(ref‖policy) of these responses (k of losses.md 0): the reference's tiles are made again in the backward pass. */
  klGradient?: 'both' | 'rejected';
  /** A weight per scored row on log-probs and KL: columns of the data; 1 for the length both responses have and `ld_alpha` after it; or a mask of the live reference's states. */
  tokenWeights?: TokenWeights;
  /** The data are lists of K responses with scores (`LossDefinition.list`). */
  list?: boolean;
  /** Σ_j π(j)² of every scored row (WPO). */
  sharpness?: boolean;
  /** Entropy of the reference at every scored row (`reference: hidden`). */
  refEntropy?: boolean;
}

export type TokenWeights = { from: 'data' } | { from: 'length'; alpha: number } | { from: 'mapo' };

/** Are its weights made of the reference's states, which no cache holds? */
export const wantsLive = (n: LossNeeds): boolean => n.tokenWeights?.from === 'mapo';

/** Does the head add up more than log-probs and KLs for it? */
export const hasTerms = (n: LossNeeds): boolean => n.tokenWeights !== undefined || n.sharpness === true || n.refEntropy === true;

/** One response of a list, the best first: its summed log-prob, tokens, and score in the data. */
export interface ListBranch {
  logp: number;
  tokens: number;
  score: number;
}

/** A method's form for lists of K responses. */
export interface ListForm {
  formula: string;
  value(list: ListBranch[], p: Record<string, number>): number;
  /** ∂ℓ/∂logp of each response. */
  gradients(list: ListBranch[], p: Record<string, number>): number[];
  /** `fn list_loss(first: u32, K: u32) -> f32` and `fn list_c(i: u32, first: u32, K: u32) -> f32` over `list_side(q)` and `scores[q]`, q = first .. first + K - 1. */
  wgsl: string;
}

/** One method, whole in one file: the folder is the registry. */
export interface LossDefinition {
  name: string;
  title: string;
  /** Paper and equation. */
  citation: string;
  formula: string;
  needs: LossNeeds;
  /** β of each pair follows its ε-step. */
  adaptiveBeta: boolean;
  /** Numeric config keys it reads, with what they do here. */
  params: Record<string, { default: number; about: string }>;
  /** Config keys of other kinds it reads; their values and the numbers above decide, through `resolve`, what the method is and needs in a run. */
  options?: Record<string, { default: string | boolean; about: string }>;
  resolve?(keys: Record<string, unknown>): LossDefinition;
  value(d: DocumentScalars, p: Record<string, number>): number;
  gradients(d: DocumentScalars, p: Record<string, number>): DocumentGradients;
  /** The implicit reward of one response, where it is not β (log π − log ρ); in WGSL an expression of the Side `s` and `beta`. */
  reward?: { value(logp: number, refLogp: number, tokens: number, beta: number): number; wgsl: string };
  /** Its form for lists of K responses, where it has one. */
  list?: ListForm;
  /** Exponents of its scores are held at a largest one; how many pairs meet it is logged. */
  holdsScores?: boolean;
  /** WGSL functions that the body calls. */
  functions?: string;
  /** Body of `fn loss_document(w: Side, l: Side, beta: f32) -> Loss`; params are constants F_<key>, perToken is args.per_token, logVocab LOG_VOCAB. */
  wgsl: string;
}

export type Criterion = 'exact' | 'deadzone' | 'bf16-trl';

/** The method's settings of one run. */
export interface LossSettings {
  beta: number;
  epsilonCheck: number;
  epsilonSize: number;
  criterion: Criterion;
  /** τ in nats. */
  deadzone: number;
  betaUpdate: 'harmonic' | 'arithmetic';
  betaMin: number;
  params: Record<string, number>;
  /** Compute the ε-columns and KLs although the method does not need them (evaluation). */
  criterionColumns: boolean;
}

export const logSigmoid = (x: number): number => -(Math.max(-x, 0) + Math.log1p(Math.exp(-Math.abs(x))));
export const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
