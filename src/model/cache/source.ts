import type { ReferenceRows } from '../engine_types.js';
import { rowOf, sideOf } from '../train/documents.js';
import type { Members, ReferenceSource } from '../train/types.js';
import type { CacheLine } from './files.js';
import type { CacheReader } from './reader.js';

/** Reference rows from a cache, for documents by their position in the split. @param split documents are the single responses of its pairs */
export class CacheSource implements ReferenceSource {
  constructor(private readonly reader: CacheReader, private readonly withHidden: boolean, private readonly split = false) {}

  rows(positions: number[], which: Members = 'own'): ReferenceRows {
    const lines = positions.map((i) => this.reader.line(this.split ? rowOf(i) : i));
    const logps = Float32Array.from(lines.flatMap((l, k) => this.lists(l, positions[k]!, which).flat()));
    if (!this.withHidden) return { logps };
    const { width } = this.reader.header;
    const hidden = new Float32Array(logps.length * width);
    let at = 0;
    for (const line of lines) {
      const states = this.reader.hidden(line);
      hidden.set(states, at);
      at += states.length;
    }
    return { logps, hidden };
  }

  private lists(line: CacheLine, position: number, which: Members): number[][] {
    const side = this.split ? sideOf(position) : undefined;
    const own = side === undefined ? [line.chosen_logps, line.rejected_logps] : [side === 0 ? line.chosen_logps : line.rejected_logps];
    const other = which === 'own' ? [] : [line.mismatched_logps![side ?? 0]!];
    return which === 'mismatched' ? other : [...own, ...other];
  }
}
