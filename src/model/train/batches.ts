import { EdpoError } from '../../errors.js';
import { planMicroBatches, type BatchCapacity, type Document } from '../batch/pack.js';
import type { Engine, MicroResult } from '../engine.js';
import type { DocumentSource, ReferenceSource } from './types.js';

/** How many micro-batches may wait for their tables at once. */
const IN_FLIGHT = 3;

/** What losses are divided by over an optimiser step's documents. */
export interface StepScale {
  /** 1 / pairs, or 1 / response tokens, as the loss normalises. */
  invCount: number;
  /** Pairs / tokens of their first (chosen) responses. */
  perToken: number;
}

export function stepScale(source: DocumentSource, positions: ArrayLike<number>, by: 'pairs' | 'tokens'): StepScale {
  let tokens = 0;
  let chosen = 0;
  for (let i = 0; i < positions.length; i++) {
    tokens += source.tokens(positions[i]!);
    chosen += source.chosenTokens(positions[i]!);
  }
  return { invCount: 1 / (by === 'pairs' ? positions.length : tokens), perToken: positions.length / chosen };
}

/**
 * Runs documents through the engine in micro-batches of the token budget. Tables are awaited by the caller, so the GPU
 * stays ahead of the host. Pair order of the result: as `positions`.
 */
export async function submitDocuments(
  engine: Engine,
  source: DocumentSource,
  reference: ReferenceSource,
  positions: number[],
  options: StepScale & { train: boolean },
): Promise<() => Promise<PairTables>> {
  const branches = engine.options.loss.needs.branches;
  const capacity: BatchCapacity = engine.options.capacity;
  const plan = planMicroBatches(positions.map((i) => ({ rows: source.rows(i), sequences: source.sequences?.(i) ?? branches, id: source.id(i) })), capacity);
  const pending: Array<{ members: number[]; read: () => Promise<MicroResult>; result?: MicroResult }> = [];
  for (const members of plan) {
    const picked = members.map((m) => positions[m]!);
    const documents = picked.map((i) => source.document(i));
    const read = engine.microBatch(documents, reference.rows(picked), options.invCount, options.train, options.perToken);
    pending.push({ members, read });
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
