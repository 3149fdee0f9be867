import type { RunResult } from './results.js';

/** One point of a figure: what several seeds of the same run have in common, with the error of their mean. */
export interface SeedMean {
  method: string;
  name: string;
  varied: Record<string, string>;
  realign: number | undefined;
  step: number | undefined;
  epoch: number | undefined;
  seeds: number;
  of(key: keyof RunResult): number | undefined;
  /** Standard error: over seeds where there are several, else that of the one evaluation. */
  errorOf(key: keyof RunResult, own?: keyof RunResult): number | undefined;
}

/** Results that differ by their seed alone, in the order they come. */
export function seedMeans(results: RunResult[]): SeedMean[] {
  const groups = new Map<string, RunResult[]>();
  for (const r of results) {
    const key = JSON.stringify([r.name, r.realign ?? null, r.step ?? null]);
    groups.set(key, [...(groups.get(key) ?? []), r]);
  }
  return [...groups.values()].map((group) => {
    const first = group[0]!;
    const values = (key: keyof RunResult): number[] => group.map((r) => r[key]).filter((v): v is number => typeof v === 'number' && Number.isFinite(v));
    const of = (key: keyof RunResult): number | undefined => { const v = values(key); return v.length === 0 ? undefined : v.reduce((a, b) => a + b, 0) / v.length; };
    return {
      method: first.method, name: first.name, varied: first.varied, realign: first.realign, step: first.step, epoch: first.epoch, seeds: group.length, of,
      errorOf: (key, own) => {
        const v = values(key);
        if (v.length < 2) return own && v.length === 1 ? of(own) : undefined;
        const mean = of(key)!;
        return Math.sqrt(v.reduce((a, b) => a + (b - mean) ** 2, 0) / (v.length - 1) / v.length);
      },
    };
  });
}
