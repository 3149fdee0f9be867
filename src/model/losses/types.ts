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
  /** Unpaired data: is this response (the only one, a) a desirable one? */
  desirable?: boolean;
  /** Unpaired data: what this response's loss counts (BCO's density ratio); 1 where absent. */
  weight?: number;
  /** Sum of the prompt's log-probs, where prompt rows are scored. */
  prompt?: number;
  /** What the group's passes left: numbers of this document, and of the group. */
  group?: { own: number[]; shared: number[] };
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
  /** ∂ℓ/∂logp per scored token of the prompt; 0 where absent. */
  prompt?: number;
}

/** One document as its group's statistics see it. */
export interface GroupMember {
  a: number;
  aRef: number;
  b: number;
  bRef: number;
  desirable: boolean;
  /** In (0, 1), from (seed, step, document) alone. */
  uniform: number;
}

/** What a group's statistics come to: the numbers of each member (at most 4), of the group (at most 8), and of the method's state after it (at most 8). */
export interface GroupResult {
  own: number[][];
  shared: number[];
  state: number[];
}

/**
 * Statistics over a group of documents (config key `group_size`; never over a micro-batch). On the GPU they are made by `passes`, one after another, over
 * a table of the group's documents in the step's order; a group wider than a micro-batch takes one more forward pass of log-probs before.
 */
export interface GroupDefinition {
  /** Sums of the documents' own responses, or of another document's response under each prompt (`mismatched`, KTO). */
  of: 'documents' | 'mismatched';
  /** Members below which the statistic says nothing; smaller groups are refused, a short last one joins the group before it. */
  least: number;
  /** Numbers that live on between steps, with where they start; in the checkpoint, unmoved by a skipped step and by evaluation. */
  state: Record<string, number>;
  /** Gradients take the statistics as constants. False: the loss of the group is differentiated through them (sorting). */
  detached: boolean;
  /** The f64 twin of the passes. */
  evaluate(members: GroupMember[], state: number[], p: Record<string, number>, o: { beta: number; training: boolean }): GroupResult;
  /**
   * WGSL bodies. `document`: one thread per member `i` of `n`; `group`: one thread in all. They read `a_of(i) a_ref_of(i) b_of(i) b_ref_of(i) desirable_of(i)
   * uniform_of(i)`, `own(i, k)`, `shared_of(k)`, `state(k)`, `beta()`, args.training; and write `set_own(i, k, x)`, `set_shared(k, x)`, `set_state(k, x)`.
   */
  passes: Array<{ over: 'document' | 'group'; wgsl: string }>;
  /** WGSL functions that the passes call. */
  functions?: string;
}

/** What a method asks of the rest of edpo. */
export interface LossNeeds {
  branches: 1 | 2;
  reference: 'none' | 'logps' | 'hidden';
  /** Rows with a label to predict: the responses, or prompts too. */
  scored: 'response' | 'all';
  /** Documents are single responses with a label, desirable or not; pairs are split into two. */
  unpaired?: boolean;
  normalise: 'pairs' | 'tokens';
  /** There is a gradient through KL(ref‖policy) of these responses (k of losses.md 0): the reference's tiles are made again in the backward pass. */
  klGradient?: 'both' | 'rejected';
  /** A weight per scored row on log-probs and KL: columns of the data; 1 for the length both responses have and `ld_alpha` after it; or a mask of the live reference's states, given or learned. */
  tokenWeights?: TokenWeights;
  /** The data are lists of K responses with scores (`LossDefinition.list`). */
  list?: boolean;
  /** Σ_j π(j)² of every scored row (WPO). */
  sharpness?: boolean;
  /** Entropy of the reference at every scored row (`reference: hidden`). */
  refEntropy?: boolean;
}

export type TokenWeights = { from: 'data' } | { from: 'length'; alpha: number } | { from: 'mapo' } | { from: 'learned'; kind: 'common' | 'independent' };

/** Are its weights made of the reference's states, which no cache holds? */
export const wantsLive = (n: LossNeeds): boolean => n.tokenWeights?.from === 'mapo' || n.tokenWeights?.from === 'learned';

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
  /** Whose semantics it follows, where that is not TRL since 0.29 (losses.md 2.1). */
  semantics?: string;
  needs: LossNeeds;
  /** β of each pair follows its ε-step. */
  adaptiveBeta: boolean;
  group?: GroupDefinition;
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
  /** A number of each document for ledger and log, under `name`; `beta`: the β used, in place of the starting one. In WGSL set by the body as `column`. */
  column?: { name: string; value(d: DocumentScalars, p: Record<string, number>): number; also?: { name: string; of(x: number): number } };
  /** WGSL functions that the body calls. */
  functions?: string;
  /** Body of `fn loss_document(w: Side, l: Side, beta: f32) -> Loss`; params are constants F_<key>, perToken is args.per_token, logVocab LOG_VOCAB;
   * `desirable` (1 or 0), `document_weight`, `prompt` (a Side), `own(k)` and `shared_of(k)` are there where the method needs them; `prompt_c`, `column` may be set. */
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
