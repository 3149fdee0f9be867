import type { Progress } from '../../cli/progress.js';
import type { Engine } from '../engine.js';
import { stepScale, submitDocuments } from './batches.js';
import type { LossDefinition } from '../losses/types.js';
import { accuracyError, mean, pairMetrics, type PairRecord } from './ledger.js';
import { pairRecords } from './records.js';
import type { DocumentSource, ReferenceSource } from './types.js';

/** Documents submitted at a time: enough to fill micro-batches well, few enough to keep memory flat. */
const CHUNK = 256;

/** Scores every document with the engine's current weights and β; nothing moves. Each record also goes to `each`. */
export async function evaluate(
  engine: Engine, source: DocumentSource, reference: ReferenceSource,
  o: { step: number; reference: boolean; hidden: boolean; each?: (r: PairRecord) => void; progress?: Progress },
): Promise<{ metrics: Record<string, number>; rows: number; scored: number }> {
  const { loss } = engine.options;
  const records: PairRecord[] = [];
  let rows = 0;
  let scored = 0;
  // A token mean inside the loss is over the whole split, not over the piece in hand.
  const scale = stepScale(source, Uint32Array.from({ length: source.count }, (_, i) => i), loss.needs);
  // Groups are the split's documents in order.
  const size = loss.group ? (engine.options.groupSize ?? CHUNK) : CHUNK;
  const chunk = Math.ceil(CHUNK / size) * size;
  for (let at = 0; at < source.count; at += chunk) {
    const positions = Array.from({ length: Math.min(chunk, source.count - at) }, (_, i) => at + i);
    const read = await submitDocuments(engine, source, reference, positions, { ...scale, train: false });
    const tables = await read();
    rows += tables.rows;
    scored += tables.scored;
    for (const r of pairRecords(tables, o.step, loss, o)) {
      o.each?.(r);
      records.push(r);
    }
    o.progress?.update(records.length);
  }
  return { metrics: summarise(records, loss), rows, scored };
}

/** Means over pairs; a token-normalised loss is a mean over tokens. */
export function summarise(records: PairRecord[], loss: LossDefinition): Record<string, number> {
  const metrics = pairMetrics(records);
  for (const { name, of } of columnsOf(loss)) {
    const value = mean(records.map((r) => of((r as unknown as Record<string, number>)[loss.column!.name]!)));
    if (value !== undefined) metrics[name] = value;
  }
  if (loss.needs.normalise === 'tokens') {
    const tokens = records.reduce((n, r) => n + r.tokens_chosen!, 0);
    metrics['loss'] = records.reduce((n, r) => n + r.loss, 0) / Math.max(1, tokens);
  }
  const accuracy = metrics['rewards/accuracies'];
  if (accuracy !== undefined) metrics['rewards/accuracies_se'] = accuracyError(accuracy, records.length);
  return metrics;
}

/** The method's own column as metrics; β has its own lines. */
const columnsOf = ({ column }: LossDefinition): Array<{ name: string; of(x: number): number }> =>
  column === undefined ? [] : [{ name: column.name === 'beta' ? 'kl/beta_used' : column.name, of: (x) => x }, ...(column.also ? [column.also] : [])];
