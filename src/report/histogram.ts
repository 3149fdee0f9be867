/**
 * A histogram over a range not known beforehand, in one pass and constant memory: bins of a power of two wide, aligned to 0, whose
 * width doubles (neighbours merge) whenever a value falls outside. Several groups share one set of bins.
 */
export class Histogram {
  width: number;
  /** Number of the first bin: it begins at first · width. */
  private first = 0;
  private started = false;
  private readonly counts: Map<string, Float64Array>;
  private readonly sums = new Map<string, { n: number; sum: number }>();

  /** @param bins an even number; at least half of it ends up in use unless all values are alike */
  constructor(readonly groups: string[], private readonly bins = 64, narrowest = 2 ** -10) {
    this.width = narrowest;
    this.counts = new Map(groups.map((g) => [g, new Float64Array(bins)]));
  }

  add(group: string, value: number): void {
    const counts = this.counts.get(group);
    if (!counts || !Number.isFinite(value)) return;
    if (!this.started) {
      this.first = Math.floor(value / this.width) - this.bins / 2;
      this.started = true;
    }
    for (;;) {
      const bin = Math.floor(value / this.width) - this.first;
      if (bin >= 0 && bin < this.bins) {
        counts[bin]!++;
        break;
      }
      this.widen(bin < 0);
    }
    const s = this.sums.get(group) ?? { n: 0, sum: 0 };
    s.n++;
    s.sum += value;
    this.sums.set(group, s);
  }

  /** Doubles the width; the room that merging frees is opened on the side where it is wanted. */
  private widen(below: boolean): void {
    const half = Math.floor(this.first / 2);
    const first = below ? half - (this.bins / 2 - 1) : half;
    for (const [group, old] of this.counts) {
      const merged = new Float64Array(this.bins);
      old.forEach((n, i) => {
        if (n > 0) merged[Math.floor((this.first + i) / 2) - first]! += n;
      });
      this.counts.set(group, merged);
    }
    this.first = first;
    this.width *= 2;
  }

  count(group: string): number {
    return this.sums.get(group)?.n ?? 0;
  }
  mean(group: string): number | undefined {
    const s = this.sums.get(group);
    return s && s.sum / s.n;
  }

  /** Bins from the first to the last that any group fills: their beginnings, and each group's counts. */
  read(): { begins: number[]; counts: Record<string, number[]> } {
    const filled = [...Array(this.bins).keys()].filter((i) => this.groups.some((g) => this.counts.get(g)![i]! > 0));
    if (filled.length === 0) return { begins: [], counts: Object.fromEntries(this.groups.map((g) => [g, []])) };
    const range = [...Array(filled.at(-1)! - filled[0]! + 1).keys()].map((i) => i + filled[0]!);
    return { begins: range.map((i) => (this.first + i) * this.width), counts: Object.fromEntries(this.groups.map((g) => [g, range.map((i) => this.counts.get(g)![i]!)])) };
  }
}
