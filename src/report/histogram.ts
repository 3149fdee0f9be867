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
  constructor(readonly groups: string[], private readonly bins = 64, narrowest = 2 ** -30) {
    this.width = narrowest;
    this.counts = new Map(groups.map((g) => [g, new Float64Array(bins)]));
  }

  add(group: string, value: number): void {
    if (!this.counts.has(group) || !Number.isFinite(value)) return;
    if (!this.started) {
      this.first = Math.floor(value / this.width) - this.bins / 2;
      this.started = true;
    }
    for (;;) {
      const bin = Math.floor(value / this.width) - this.first;
      if (bin >= 0 && bin < this.bins) {
        this.counts.get(group)![bin]!++;
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

  /**
   * Bins from the first to the last that any group fills, as many as the number of values bears (Rice's rule, 2 n^(1/3), and about
   * 20 at least, of which merging may leave half): their width and beginnings, and each group's counts.
   */
  read(): { width: number; begins: number[]; counts: Record<string, number[]> } {
    const filled = [...Array(this.bins).keys()].filter((i) => this.groups.some((g) => this.counts.get(g)![i]! > 0)).map((i) => this.first + i);
    if (filled.length === 0) return { width: this.width, begins: [], counts: Object.fromEntries(this.groups.map((g) => [g, []])) };
    const most = Math.max(20, Math.ceil(2 * Math.cbrt(Math.max(...this.groups.map((g) => this.count(g))))));
    let merge = 1;
    while (Math.floor(filled.at(-1)! / merge) - Math.floor(filled[0]! / merge) + 1 > most) merge *= 2;
    const from = Math.floor(filled[0]! / merge);
    const begins = Array.from({ length: Math.floor(filled.at(-1)! / merge) - from + 1 }, (_, i) => (from + i) * merge * this.width);
    const counts = Object.fromEntries(this.groups.map((g): [string, number[]] => {
      const sums = begins.map(() => 0);
      for (const bin of filled) sums[Math.floor(bin / merge) - from]! += this.counts.get(g)![bin - this.first]!;
      return [g, sums];
    }));
    return { width: merge * this.width, begins, counts };
  }
}
