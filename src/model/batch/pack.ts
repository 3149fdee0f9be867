import { EdpoError } from '../../errors.js';
import { attentionTiles, TILE_WORDS } from '../../gpu/ops/attention_tiles.js';

/** A prompt and the branches that continue it: 1 for SFT, 2 for a pair (chosen, rejected). */
export interface Document {
  id: number;
  prompt: ArrayLike<number>;
  branches: ArrayLike<number>[];
  /** Unpaired data: is its one response a desirable one? */
  desirable?: boolean;
  /** Unpaired data: what its loss counts (BCO's density ratio); 1 where absent. */
  weight?: number;
  /** Numbers of the branches for dropout's masks, where they are not 1, 2, …: a branch has the same masks whatever branches it runs beside. */
  numbers?: number[];
  /** A weight for every token of each branch (data with token weights). */
  weights?: ArrayLike<number>[];
  /** A score for each branch (lists of responses), the best first. */
  scores?: number[];
}

/** Capacities of a micro-batch: token rows, and sequences (branches). */
export interface BatchCapacity {
  rows: number;
  sequences: number;
}

/** Sequences a micro-batch may hold: a quarter of its rows is far more than real data has. */
export const sequenceCapacity = (rows: number): number => Math.max(8, Math.min(2048, Math.floor(rows / 4)));

export const documentRows = (d: Document): number => d.branches.reduce((n, b) => n + b.length, d.prompt.length);

/** A packed micro-batch as the kernels read it; see `pack`. */
export interface PackedBatch {
  documents: number;
  /** Actual sizes by letter: N, S, Q, P, U; positions: distinct ones; tiles: of attention. */
  values: { N: number; S: number; Q: number; P: number; U: number; positions: number; tiles: number };
  ids: Uint32Array;
  position: Uint32Array;
  /** [N, 4]: promptStart, promptEnd, branchStart, visEnd. */
  span: Uint32Array;
  /** [tiles, 8]: the rows in tiles for attention (`attentionTiles`). */
  tiles: Uint32Array;
  /** Scored rows in the order of documents, branches, tokens: source row, label, sequence. */
  src: Uint32Array;
  labels: Uint32Array;
  seqOf: Uint32Array;
  seqStart: Uint32Array;
  /** For every row the scored rows it feeds (CSR), in order. */
  gatherOffsets: Uint32Array;
  gatherList: Uint32Array;
  /** Distinct ids in rising order with the rows that hold them. */
  uniqueIds: Uint32Array;
  uniqueOffsets: Uint32Array;
  uniqueRows: Uint32Array;
  /** The same by position. */
  uniquePositions: Uint32Array;
  positionOffsets: Uint32Array;
  positionRows: Uint32Array;
}

/**
 * Packs documents into token rows without padding (design 3). A prompt runs once; each branch's positions restart after
 * it; the first label of every branch is predicted from the last prompt row.
 * @param scorePrompt score prompt tokens too (from their predecessor, first token excepted), as a sequence of its own after the document's branches.
 */
export function pack(documents: Document[], scorePrompt = false): PackedBatch {
  const N = documents.reduce((n, d) => n + documentRows(d), 0);
  const Q = documents.reduce((n, d) => n + d.branches.length + Number(scorePrompt), 0);
  const scored = documents.reduce((n, d) => n + d.branches.reduce((m, b) => m + b.length, 0) + (scorePrompt ? d.prompt.length - 1 : 0), 0);
  const ids = new Uint32Array(N);
  const position = new Uint32Array(N);
  const span = new Uint32Array(N * 4);
  const src = new Uint32Array(scored);
  const labels = new Uint32Array(scored);
  const seqOf = new Uint32Array(scored);
  const seqStart = new Uint32Array(Q + 1);
  let row = 0;
  let s = 0;
  let q = 0;
  const score = (source: number, label: number): void => {
    src[s] = source;
    labels[s] = label;
    seqOf[s] = q;
    s++;
  };
  const see = (promptStart: number, promptEnd: number, branchStart: number, visEnd: number): void => {
    span[row * 4] = promptStart;
    span[row * 4 + 1] = promptEnd;
    span[row * 4 + 2] = branchStart;
    span[row * 4 + 3] = visEnd;
  };
  for (const d of documents) {
    const start = row;
    const P = d.prompt.length;
    if (P === 0) throw new EdpoError(`pair ${d.id} has an empty prompt: nothing predicts its first token`, { exitCode: 2 });
    const end = start + documentRows(d);
    for (let i = 0; i < P; i++, row++) {
      ids[row] = d.prompt[i]!;
      position[row] = i;
      see(start, start, start, end);
    }
    const lastPrompt = row - 1;
    d.branches.forEach((branch) => {
      seqStart[q] = s;
      const branchStart = row;
      const branchEnd = row + branch.length;
      for (let i = 0; i < branch.length; i++, row++) {
        ids[row] = branch[i]!;
        position[row] = P + i;
        see(start, start + P, branchStart, branchEnd);
        score(i === 0 ? lastPrompt : row - 1, branch[i]!);
      }
      q++;
    });
    if (!scorePrompt) continue;
    seqStart[q] = s;
    for (let i = 1; i < P; i++) score(start + i - 1, d.prompt[i]!);
    q++;
  }
  seqStart[Q] = s;
  const { offsets: gatherOffsets, list: gatherList } = invert(src, N);
  const byId = grouped(ids);
  const byPosition = grouped(position);
  const tiles = attentionTiles(span);
  return {
    documents: documents.length,
    values: { N, S: scored, Q, P: documents.length, U: byId.keys.length, positions: byPosition.keys.length, tiles: tiles.length / TILE_WORDS },
    ids, position, span, tiles, src, labels, seqOf, seqStart, gatherOffsets, gatherList,
    uniqueIds: byId.keys, uniqueOffsets: byId.offsets, uniqueRows: byId.rows,
    uniquePositions: byPosition.keys, positionOffsets: byPosition.offsets, positionRows: byPosition.rows,
  };
}

/** Distinct keys in rising order, and for each the rows that hold it, in order: those from its offset to the next one's. */
function grouped(keys: Uint32Array): { keys: Uint32Array; offsets: Uint32Array; rows: Uint32Array } {
  const N = keys.length;
  // Key and row in one number: sorting numbers is several times as fast as sorting by a function. Exact below 2^53.
  const sorted = new Float64Array(N);
  for (let r = 0; r < N; r++) sorted[r] = keys[r]! * N + r;
  sorted.sort();
  const rows = new Uint32Array(N);
  const unique = new Uint32Array(N);
  const offsets = new Uint32Array(N + 1);
  let count = 0;
  for (let i = 0; i < N; i++) {
    const r = (rows[i] = sorted[i]! % N);
    if (i > 0 && keys[r] === unique[count - 1]) continue;
    unique[count] = keys[r]!;
    offsets[count++] = i;
  }
  offsets[count] = N;
  return { keys: unique.slice(0, count), offsets: offsets.slice(0, count + 1), rows };
}

/**
 * Rows of rotary tables with the long frequencies' positions behind the others: a row's position, and `positions` more where the longest sequence
 * of its document has more than `from` tokens. (transformers looks at the longest of its batch: the two sides of one pair.)
 */
export function rotaryPositions({ position, span }: Pick<PackedBatch, 'position' | 'span'>, from: number, positions: number): Uint32Array {
  const longest = new Map<number, number>();
  position.forEach((at, i) => longest.set(span[4 * i]!, Math.max(longest.get(span[4 * i]!) ?? 0, at + 1)));
  return position.map((at, i) => (longest.get(span[4 * i]!)! > from ? at + positions : at));
}

/** For each of `n` targets the indices that point at it, in rising order (compressed rows). */
function invert(pointers: Uint32Array, n: number): { offsets: Uint32Array; list: Uint32Array } {
  const offsets = new Uint32Array(n + 1);
  for (const p of pointers) offsets[p + 1]!++;
  for (let i = 0; i < n; i++) offsets[i + 1]! += offsets[i]!;
  const next = offsets.slice(0, n);
  const list = new Uint32Array(pointers.length);
  pointers.forEach((p, i) => (list[next[p]!++] = i));
  return { offsets, list };
}

/**
 * Puts documents into as few micro-batches as first-fit-decreasing finds, each within the capacity. Deterministic in the
 * documents' sizes and order; within a micro-batch the original order is kept.
 * @returns indices into `sizes`, one list per micro-batch.
 */
export function planMicroBatches(
  sizes: Array<{ rows: number; sequences: number; id: number }>,
  capacity: BatchCapacity,
): number[][] {
  const order = sizes.map((_, i) => i).sort((a, b) => sizes[b]!.rows - sizes[a]!.rows || a - b);
  const bins: Array<{ rows: number; sequences: number; items: number[] }> = [];
  for (const i of order) {
    const { rows, sequences, id } = sizes[i]!;
    if (rows > capacity.rows || sequences > capacity.sequences) {
      throw new EdpoError(`pair ${id} takes ${rows} rows, more than token_budget ${capacity.rows}`, {
        hint: `--token_budget ${rows} or a smaller --max_length`,
        exitCode: 2,
      });
    }
    let bin = bins.find((b) => b.rows + rows <= capacity.rows && b.sequences + sequences <= capacity.sequences);
    if (!bin) bins.push((bin = { rows: 0, sequences: 0, items: [] }));
    bin.rows += rows;
    bin.sequences += sequences;
    bin.items.push(i);
  }
  for (const bin of bins) bin.items.sort((a, b) => a - b);
  return bins.map((b) => b.items).sort((a, b) => a[0]! - b[0]!);
}
