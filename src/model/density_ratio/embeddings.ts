import { InputError } from '../../errors.js';
import type { Gpu } from '../../gpu/device.js';
import type { TokenStore } from '../data/store.js';
import { lines } from '../data/lines.js';
import type { Parameters } from '../parameters.js';
import { Scorer } from '../scorer.js';

/** Numbers for each prompt of a split, by a document's position in it. */
export interface PromptEmbeddings {
  /** For messages. */
  from: string;
  /** Calls `visit` once for each of these positions, in any order. */
  read(positions: number[], visit: (position: number, embedding: ArrayLike<number>) => void): Promise<void>;
}

/** Those of a file: a line {"id": row number, "embedding": [numbers]} for every row that is kept; lines of other rows are passed over. */
export function embeddingFile(path: string, store: TokenStore): PromptEmbeddings {
  return {
    from: path,
    read: async (positions, visit) => {
      const waiting = new Map(positions.map((p) => [store.ids[p]!, p]));
      const seen = new Set<number>();
      let width: number | undefined;
      for await (const { text, number } of lines(path)) {
        if (text.trim() === '') continue;
        const where = `${path} line ${number}`;
        const { id, embedding } = parse(text, where);
        width ??= embedding.length;
        if (embedding.length !== width) throw new InputError(`${where}: an embedding of ${embedding.length} numbers, and those before have ${width}`, 'one model for all prompts');
        if (seen.has(id)) throw new InputError(`${where}: row ${id} stands here a second time`);
        seen.add(id);
        const position = waiting.get(id);
        if (position === undefined) continue;
        waiting.delete(id);
        visit(position, embedding);
      }
      if (waiting.size > 0) throw new InputError(`${path} has no embedding of row ${[...waiting.keys()][0]!}${waiting.size > 1 ? ` and ${waiting.size - 1} others` : ''}`, 'a line {"id": ROW, "embedding": [...]} for every row of the data, counted from 0');
    },
  };
}

function parse(text: string, where: string): { id: number; embedding: number[] } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${where}: ${(cause as Error).message}`, 'a JSON object a line', cause);
  }
  const { id, embedding } = (value ?? {}) as { id?: unknown; embedding?: unknown };
  if (!Number.isInteger(id)) throw new InputError(`${where}: id must be a row number, got ${JSON.stringify(id)}`);
  if (!Array.isArray(embedding) || embedding.length === 0 || !embedding.every((x) => Number.isFinite(x))) throw new InputError(`${where}: embedding must be a list of finite numbers`);
  return { id: id as number, embedding: embedding as number[] };
}

/**
 * The reference's final state (after the last norm) at the prompt's last token, of unit length as embedding models give theirs. The prompt runs alone,
 * so its numbers do not depend on any response.
 */
export function referenceEmbeddings(gpu: Gpu, reference: Parameters, store: TokenStore, capacity: { rows: number; sequences: number }): PromptEmbeddings {
  let made: Promise<Scorer> | undefined;
  return {
    from: 'the reference’s states',
    read: async (positions, visit) => {
      const scorer = await (made ??= new Scorer(gpu, reference, capacity, true).ready());
      const { D } = reference.spec;
      const rowsOf = (p: number): number => store.promptLengths[p]! + 1;
      for (let i = 0; i < positions.length; ) {
        const members: number[] = [];
        let rows = 0;
        while (i < positions.length && rows + rowsOf(positions[i]!) <= capacity.rows && members.length < capacity.sequences) {
          rows += rowsOf(positions[i]!);
          members.push(positions[i++]!);
        }
        if (members.length === 0) throw new InputError(`row ${store.ids[positions[i]!]!} has a prompt of ${store.promptLengths[positions[i]!]!} tokens, token_budget is ${capacity.rows}`, `--token_budget ${rowsOf(positions[i]!)}`);
        // One token to predict, whichever: the row that predicts it is the prompt's last.
        const { hidden } = await scorer.submit(members.map((p) => ({ id: store.ids[p]!, prompt: store.get(p).prompt, branches: [[0]] })))();
        members.forEach((p, s) => visit(p, unit(hidden!.subarray(s * D, (s + 1) * D))));
      }
    },
  };
}

function unit(x: Float32Array): Float64Array {
  let squares = 0;
  for (const v of x) squares += v * v;
  return Float64Array.from(x, (v) => v / Math.sqrt(squares || 1));
}
