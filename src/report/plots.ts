/** One line of a plot: colour and dash by number, points by rising x. */
export interface Series {
  label: string;
  color: number;
  dash: number;
  points: Array<[number, number]>;
  /** Of kind `points`: what each point is, in the table of values, and beside it where the plot is `labelled`. */
  names?: string[];
  /** Of kind `points`: `line` has no dots of its own, `hollow` dots are previews, `dots` have no line. */
  look?: 'line' | 'hollow' | 'dots';
  /** Of a histogram: width of a bin, and the mean, which is marked. */
  bin?: number;
  mean?: number;
  /** An interval of y around each point. */
  bars?: Array<[number, number]>;
}

export interface Plot {
  id: string;
  title: string;
  xTitle: string;
  /** What y is, with its unit. */
  yTitle: string;
  /** `line` over whole steps, `points` (joined by rising x) over any x, or `steps` for histograms (x is a bin's middle). */
  kind: 'line' | 'points' | 'steps';
  series: Series[];
  /** A sentence below the plot. */
  note?: string;
  /** Range of x; that of the points where absent. */
  domain?: [number, number];
  /** Names stand beside their points. */
  labelled?: boolean;
  /** y always reaches 0. */
  zero?: boolean;
  /** A level of y worth a line across. */
  level?: number;
  /** Labels of the y axis, as d3-format has it. */
  yFormat?: string;
}

export const COLORS = 8;
export const DASHES = ['', '6 3', '2 3', '8 3 2 3'];
/** Points of a series at most: a wide run is shown by means over equal stretches of x. */
export const MOST_POINTS = 160;
/** Means over stretches of x, where there are more points than a plot can show. All series of a plot share the stretches. */
export function thin(series: Series[], most = MOST_POINTS): { series: Series[]; thinned: boolean } {
  if (Math.max(0, ...series.map((s) => s.points.length)) <= most) return { series, thinned: false };
  const [from, to] = ends(series.flatMap((s) => s.points.map((p) => p[0])));
  const width = (to - from) / most;
  return {
    thinned: true,
    series: series.map((s) => {
      const cells = new Map<number, { last: number; sum: number; n: number }>();
      for (const [x, y] of s.points) {
        const i = Math.min(most - 1, Math.floor((x - from) / width));
        const c = cells.get(i) ?? { last: x, sum: 0, n: 0 };
        cells.set(i, { last: Math.max(c.last, x), sum: c.sum + y, n: c.n + 1 });
      }
      return { ...s, points: [...cells.entries()].sort((a, b) => a[0] - b[0]).map(([, c]): [number, number] => [c.last, c.sum / c.n]) };
    }),
  };
}

/** The least and the largest. */
export const ends = (values: number[]): [number, number] => values.reduce<[number, number]>(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
