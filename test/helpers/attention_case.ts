import type { Document } from '../../src/model/batch/pack.js';
import type { Sees } from '../reference/attention.js';

/** A document of so many rows. */
export const doc = (id: number, prompt: number, ...branches: number[]): Document => ({
  id, prompt: new Array<number>(prompt).fill(1), branches: branches.map((n) => new Array<number>(n).fill(2)),
});

/** Visibility from the documents themselves, not from spans. */
export function visibility(documents: Document[], window: number): Sees {
  const owner: Array<[number, number, number]> = [];
  documents.forEach((d, i) => {
    for (let r = 0; r < d.prompt.length; r++) owner.push([i, -1, r]);
    d.branches.forEach((b, k) => { for (let r = 0; r < b.length; r++) owner.push([i, k, d.prompt.length + r]); });
  });
  return (i, j) => {
    const [a, b] = [owner[i]!, owner[j]!];
    return j <= i && a[0] === b[0] && (b[1] === -1 || a[1] === b[1]) && (window === 0 || a[2] - b[2] < window);
  };
}
