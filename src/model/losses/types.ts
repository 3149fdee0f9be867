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
  value(d: DocumentScalars, p: Record<string, number>): number;
  gradients(d: DocumentScalars, p: Record<string, number>): DocumentGradients;
  /** The implicit reward of one response, where it is not β (log π − log ρ); in WGSL an expression of the Side `s` and `beta`. */
  reward?: { value(logp: number, refLogp: number, tokens: number, beta: number): number; wgsl: string };
  /** WGSL functions that the body calls. */
  functions?: string;
  /** Body of `fn loss_document(w: Side, l: Side, beta: f32) -> Loss`; params are constants F_<key>, perToken is args.per_token. */
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
