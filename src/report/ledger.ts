import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { InputError } from '../errors.js';
import { lines } from '../model/data/lines.js';
import type { PairRecord } from '../model/train/ledger.js';
import { Histogram } from './histogram.js';

/** What the report keeps of a pair it names. */
export type NamedPair = Pick<PairRecord, 'id' | 'step' | 'epsilon_step' | 'beta' | 'loss' | 'tokens_prompt' | 'tokens_chosen' | 'tokens_rejected'> & { margin: number };

/** Sums over the pairs of one optimiser step. */
export interface StepSums {
  pairs: number;
  lowered: number;
  raised: number;
  unmoved: number;
}

/** The pairs of largest score, each by its last visit; memory is constant. */
class Extremes {
  private kept = new Map<number, { pair: NamedPair; score: number }>();
  private floor = -Infinity;
  constructor(private readonly capacity: number) {}

  offer(pair: NamedPair, score: number): void {
    this.kept.delete(pair.id);
    if (score < this.floor) return;
    this.kept.set(pair.id, { pair, score });
    if (this.kept.size < 4 * this.capacity) return;
    const best = this.sorted().slice(0, 2 * this.capacity);
    this.floor = best.at(-1)!.score;
    this.kept = new Map(best.map((b) => [b.pair.id, b]));
  }
  forget(id: number): void {
    this.kept.delete(id);
  }
  private sorted(): Array<{ pair: NamedPair; score: number }> {
    return [...this.kept.values()].sort((a, b) => b.score - a.score || a.pair.id - b.pair.id);
  }
  read(n: number): NamedPair[] {
    return this.sorted().slice(0, n).map((b) => b.pair);
  }
}

/** β's step of a pair, in words; `none` where the method takes no steps. */
export const SIGNS = ['lowered', 'raised', 'unmoved', 'none'] as const;
export type Sign = (typeof SIGNS)[number];
const signOf = (step: number | null | undefined): Sign => (step === null || step === undefined ? 'none' : step > 0 ? 'lowered' : step < 0 ? 'raised' : 'unmoved');

/** A ledger in constant memory (beside one small record per optimiser step). */
export interface LedgerSummary {
  pairs: number;
  /** Lines of the window: the last pass over the data. */
  windowPairs: number;
  fromStep: number;
  steps: Map<number, StepSums>;
  /** Implicit reward margins by β's step, in the window. */
  margins: Histogram;
  /** Which quantity `margins` holds. */
  marginName: string;
  /** Tokens in the window. */
  lengths: Histogram;
  /** Largest margins among pairs that lowered and raised β, smallest ones of both (the paper's Tables 5 to 8), and all pairs' ends. */
  lists: { title: string; about: string; pairs: NamedPair[] }[];
  notes: string[];
}

/** Reads pairs.ndjson once, a line at a time. Half a line at the end (a killed run) is left out with a note; any other broken line is an InputError. */
export async function summariseLedger(path: string, o: { fromStep: number; listed: number; name: string }): Promise<LedgerSummary> {
  const torn = endsTorn(path);
  const steps = new Map<number, StepSums>();
  const margins = new Histogram([...SIGNS]);
  const lengths = new Histogram(['prompt', 'chosen', 'rejected'], 64, 1);
  const capacity = Math.max(1, o.listed);
  const top = { lowered: new Extremes(capacity), raised: new Extremes(capacity), bottomLowered: new Extremes(capacity), bottomRaised: new Extremes(capacity), all: new Extremes(capacity), bottom: new Extremes(capacity), near: new Extremes(capacity) };
  const summary: LedgerSummary = { pairs: 0, windowPairs: 0, fromStep: o.fromStep, steps, margins, marginName: 'implicit reward margin', lengths, lists: [], notes: [] };
  let rewards = true;
  let broken: { number: number; why: string } | undefined;
  for await (const { text, number } of lines(path)) {
    if (broken) throw brokenLine(path, broken);
    if (text === '') continue;
    const read = parse(text);
    if (typeof read === 'string') {
      broken = { number, why: read };
      continue;
    }
    summary.pairs++;
    const sign = signOf(read.epsilon_step);
    const step = steps.get(read.step) ?? { pairs: 0, lowered: 0, raised: 0, unmoved: 0 };
    step.pairs++;
    if (sign !== 'none') step[sign]++;
    steps.set(read.step, step);
    if (read.step < o.fromStep) continue;
    summary.windowPairs++;
    lengths.add('prompt', read.tokens_prompt);
    if (read.tokens_chosen !== null) lengths.add('chosen', read.tokens_chosen);
    if (read.tokens_rejected !== null) lengths.add('rejected', read.tokens_rejected);
    const reward = read.reward_chosen !== null && read.reward_rejected !== null && read.reward_chosen !== undefined && read.reward_rejected !== undefined;
    const margin = reward ? read.reward_chosen! - read.reward_rejected! : (read.margin ?? read.logratio);
    if (margin === null || margin === undefined) continue;
    rewards &&= reward;
    margins.add(sign, margin);
    const { id, step: at, epsilon_step, beta, loss, tokens_prompt, tokens_chosen, tokens_rejected } = read;
    const pair: NamedPair = { id, step: at, epsilon_step, beta, loss, tokens_prompt, tokens_chosen, tokens_rejected, margin };
    for (const list of Object.values(top)) list.forget(id);
    top.all.offer(pair, margin);
    top.bottom.offer(pair, -margin);
    // Exactly 0 is what every pair has while policy and reference are one: it says nothing of the pair.
    if (margin !== 0) top.near.offer(pair, -Math.abs(margin));
    if (sign === 'lowered') {
      top.lowered.offer(pair, margin);
      top.bottomLowered.offer(pair, -margin);
    } else if (sign === 'raised') {
      top.raised.offer(pair, margin);
      top.bottomRaised.offer(pair, -margin);
    }
  }
  if (broken) {
    if (!torn) throw brokenLine(path, broken);
    summary.notes.push(`${o.name}: pairs.ndjson ends in half a line (line ${broken.number}), as a killed run leaves it; that line is left out.`);
  }
  if (!rewards) summary.marginName = 'log-ratio margin';
  const n = o.listed;
  summary.lists = [
    { title: 'Most confident', about: 'largest margin: the policy has moved furthest towards the chosen response', pairs: top.all.read(n) },
    { title: 'Least confident', about: 'margin nearest to 0: policy and reference weigh the two responses alike (pairs seen before the policy moved, at exactly 0, are left out)', pairs: top.near.read(n) },
    { title: 'Likely flipped labels', about: 'margin furthest below 0: what the policy learnt elsewhere speaks for the rejected response', pairs: top.bottom.read(n).filter((p) => p.margin < 0) },
    { title: 'Large margin, β lowered', about: 'the paper’s Appendix C looks at such pairs beside those that raised β', pairs: top.lowered.read(n) },
    { title: 'Large margin, β raised', about: 'the same end of the margins, the other step', pairs: top.raised.read(n) },
    { title: 'Small margin, β lowered', about: 'smallest margins among pairs that lowered β', pairs: top.bottomLowered.read(n) },
    { title: 'Small margin, β raised', about: 'smallest margins among pairs that raised β', pairs: top.bottomRaised.read(n) },
  ].filter((l) => l.pairs.length > 0);
  return summary;
}

const brokenLine = (path: string, b: { number: number; why: string }): InputError =>
  new InputError(`${path} line ${b.number} is broken: ${b.why}`, 'mend or remove that line; --resume of an unfinished run cuts the ledger back to its checkpoint');

function parse(text: string): PairRecord | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `no JSON (${(error as Error).message})`;
  }
  const r = value as PairRecord | null;
  if (typeof r !== 'object' || r === null || !Number.isInteger(r.id) || !Number.isInteger(r.step)) return 'expected an object with whole numbers id and step';
  return r;
}

/** Does the file end without a line end? */
function endsTorn(path: string): boolean {
  if (!existsSync(path)) return false;
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const last = Buffer.alloc(1);
    return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 10;
  } finally {
    closeSync(fd);
  }
}
