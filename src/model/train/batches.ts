import { EdpoError } from '../../errors.js';
import { planMicroBatches, type BatchCapacity, type Document } from '../batch/pack.js';
import { drawnUniform, type Engine } from '../engine.js';
import type { GroupPart, MicroResult } from '../engine_types.js';
import type { LossDefinition } from '../losses/types.js';
import { IN_FLIGHT } from '../recorded_run.js';
import { membersOf, type DocumentSource, type Members, type ReferenceSource } from './types.js';

/** What losses are divided by over an optimiser step's documents. */
export interface StepScale {
  /** 1 / pairs, or 1 / response tokens, as the loss normalises. */
  invCount: number;
  /** Pairs / tokens of their first (chosen) responses, with their prompts' where those are scored. */
  perToken: number;
}

export function stepScale(source: DocumentSource, positions: ArrayLike<number>, { normalise, scored }: LossDefinition['needs']): StepScale {
  let tokens = 0;
  let chosen = 0;
  for (let i = 0; i < positions.length; i++) {
    tokens += source.tokens(positions[i]!);
    // Nothing predicts a prompt's first token.
    chosen += source.chosenTokens(positions[i]!) + (scored === 'all' ? source.rows(positions[i]!) - source.tokens(positions[i]!) - 1 : 0);
  }
  return { invCount: 1 / (normalise === 'pairs' ? positions.length : tokens), perToken: positions.length / chosen };
}

/** Options of `submitDocuments`: keys of what is drawn at random for each document, (seed, step) in training. */
export type SubmitOptions = StepScale & { train: boolean; draw?: number[] };

/**
 * Runs documents through the engine in micro-batches of the token budget. Tables are awaited by the caller, so the GPU
 * stays ahead of the host. Pair order of the result: as `positions`.
 */
export async function submitDocuments(engine: Engine, source: DocumentSource, reference: ReferenceSource, positions: number[], options: SubmitOptions): Promise<() => Promise<PairTables>> {
  const pending: Array<{ members: number[]; read: () => Promise<MicroResult>; result?: MicroResult }> = [];
  for (const { places, positions: picked, which, part, phase, last } of microBatches(engine, source, positions, options.draw ?? [])) {
    const documents = picked.map((i) => membersOf(source, i, which));
    const rows = reference.rows(picked, which);
    if (phase === 'score') {
      engine.scorePart(documents, rows, options.train, part!, last);
      continue;
    }
    pending.push({ members: places, read: engine.microBatch(documents, rows, options.invCount, options.train, options.perToken, part) });
    const waiting = pending.length - IN_FLIGHT;
    if (waiting >= 0) pending[waiting]!.result ??= await pending[waiting]!.read();
  }
  return async () => {
    const tables = new PairTables(positions.length);
    for (const item of pending) {
      const result = item.result ?? (await item.read());
      const width = result.table.length / result.documents.length;
      tables.rows += result.batch.values.N;
      tables.scored += result.batch.values.S;
      item.members.forEach((m, k) => tables.set(m, result.documents[k]!, result.table.slice(k * width, (k + 1) * width)));
    }
    tables.check();
    return tables;
  };
}

/** One submission: some documents, which of their responses run, and their part in a group. */
interface Submission {
  /** Places in the step. */
  places: number[];
  positions: number[];
  which: Members;
  part: GroupPart | undefined;
  phase: 'score' | 'loss';
  /** The group's statistics are made after this one. */
  last: boolean;
}

function* microBatches(engine: Engine, source: DocumentSource, positions: number[], draw: number[]): Generator<Submission> {
  const { loss, capacity, groupSize } = engine.options;
  const plan = (places: number[], which: Members): number[][] => planMicroBatches(places.map((m) => sizeOf(source, positions[m]!, which, loss)), capacity).map((bin) => bin.map((k) => places[k]!));
  const everything = positions.map((_, m) => m);
  if (!loss.group) {
    for (const places of plan(everything, 'own')) yield { places, positions: places.map((m) => positions[m]!), which: 'own', part: undefined, phase: 'loss', last: false };
    return;
  }
  const uniforms = positions.map((i) => drawnUniform(...draw, source.id(i)));
  for (const group of groupsOf(everything, groupSize ?? positions.length, loss.group.least)) {
    const { together, scored } = passesOf(loss);
    const submission = (places: number[], which: Members, phase: Submission['phase'], whole: boolean, last: boolean): Submission => ({
      places, positions: places.map((m) => positions[m]!), which, phase, last,
      part: { members: group.length, places: places.map((m) => m - group[0]!), uniforms: places.map((m) => uniforms[m]!), whole },
    });
    if (fits(group.map((m) => sizeOf(source, positions[m]!, together, loss)), capacity)) {
      yield submission(group, together, 'loss', true, true);
      continue;
    }
    const first = plan(group, scored);
    for (const [i, places] of first.entries()) yield submission(places, scored, 'score', false, i === first.length - 1);
    for (const places of plan(group, 'own')) yield submission(places, 'own', 'loss', false, false);
  }
}

/** What runs of a group that fits a micro-batch, and in the pass of log-probs of one that does not. */
const passesOf = (loss: LossDefinition): { together: Members; scored: Members } =>
  loss.group?.of === 'mismatched' ? { together: 'both', scored: 'mismatched' } : { together: 'own', scored: 'own' };

/** Groups follow each other in the step's order; a last one with too few members joins the one before it. */
export function groupsOf(places: number[], size: number, least: number): number[][] {
  const groups: number[][] = [];
  for (let at = 0; at < places.length; at += size) groups.push(places.slice(at, at + size));
  if (groups.length > 1 && groups.at(-1)!.length < least) groups.at(-2)!.push(...groups.pop()!);
  return groups;
}

interface Size { rows: number; sequences: number; id: number }

function sizeOf(source: DocumentSource, i: number, which: Members, loss: LossDefinition): Size {
  const rows = which === 'own' ? source.rows(i) : which === 'both' ? source.rows(i) + source.mismatchedTokens!(i) : source.rows(i) - source.tokens(i) + source.mismatchedTokens!(i);
  return { rows, sequences: (source.sequences?.(i) ?? loss.needs.branches) * (which === 'both' ? 2 : 1) + (loss.needs.scored === 'all' ? 1 : 0), id: source.id(i) };
}

const fits = (sizes: Size[], capacity: BatchCapacity): boolean => sizes.reduce((n, s) => n + s.rows, 0) <= capacity.rows && sizes.reduce((n, s) => n + s.sequences, 0) <= capacity.sequences;

/** Micro-batches of a step over these documents, and how many more its statistics take (`plan`). Throws EdpoError where a document is over the capacity. */
export function countMicroBatches(source: DocumentSource, positions: number[], loss: LossDefinition, capacity: BatchCapacity, groupSize: number): { losses: number; scores: number } {
  const bins = (of: number[], which: Members): number => planMicroBatches(of.map((i) => sizeOf(source, i, which, loss)), capacity).length;
  if (!loss.group) return { losses: bins(positions, 'own'), scores: 0 };
  const total = { losses: 0, scores: 0 };
  const { together, scored } = passesOf(loss);
  for (const group of groupsOf(positions, groupSize, loss.group.least)) {
    const whole = fits(group.map((i) => sizeOf(source, i, together, loss)), capacity);
    total.losses += whole ? 1 : bins(group, 'own');
    total.scores += whole ? 0 : bins(group, scored);
  }
  return total;
}

/** Tables of all documents of a step, in the step's order. */
export class PairTables {
  rows = 0;
  scored = 0;
  readonly documents: Document[] = [];
  readonly tables: Float32Array[] = [];
  constructor(readonly count: number) {}
  set(i: number, document: Document, table: Float32Array): void {
    this.documents[i] = document;
    this.tables[i] = table;
  }
  check(): void {
    for (let i = 0; i < this.count; i++) if (!this.tables[i]) throw new EdpoError(`internal: document ${i} of the step was never run`);
  }
}
