import type { Spec } from 'vega';

/** One line of a plot: colour and dash by number, points by rising x. */
export interface Series {
  label: string;
  color: number;
  dash: number;
  points: Array<[number, number]>;
}

export interface Plot {
  id: string;
  title: string;
  xTitle: string;
  yTitle: string;
  /** `line`, or `steps` for histograms (x is a bin's middle). */
  kind: 'line' | 'steps';
  series: Series[];
  /** A sentence below the plot. */
  note?: string;
  /** y always reaches 0. */
  zero?: boolean;
  yFormat?: string;
}

/** A plot drawn: its SVG, and where x lies in it, for the script that shows values. */
export interface Drawn {
  svg: string;
  /** x at the left and right edge of the plotting area, and those edges in units of the SVG. */
  x: { from: number; to: number; left: number; right: number };
  width: number;
  height: number;
}

export const COLORS = 8;
export const DASHES = ['', '6 3', '2 3', '8 3 2 3'];
const WIDTH = 400;
const HEIGHT = 225;
/** Points of a series at most: a wide run is shown by means over equal stretches of x. */
export const MOST_POINTS = 160;

/** Means over stretches of x, where there are more points than a plot can show. All series of a plot share the stretches. */
export function thin(series: Series[], most = MOST_POINTS): { series: Series[]; thinned: boolean } {
  const xs = series.flatMap((s) => s.points.map((p) => p[0]));
  if (Math.max(0, ...series.map((s) => s.points.length)) <= most) return { series, thinned: false };
  const from = xs.reduce((a, b) => Math.min(a, b), Infinity);
  const to = xs.reduce((a, b) => Math.max(a, b), -Infinity);
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

/** Draws a plot as SVG whose colours are the page's variables, so that one drawing serves light, dark and print. Vega is loaded here and nowhere else. */
export async function draw(plot: Plot): Promise<Drawn> {
  const vega = await import('vega');
  const values = plot.series.flatMap((s, i) => s.points.filter((p) => Number.isFinite(p[1])).map(([x, y]) => ({ x, y, s: i })));
  const [from, to] = xRange(values.map((v) => v.x), plot);
  // A histogram's first and last bins end at the ground.
  if (plot.kind === 'steps') plot.series.forEach((s, i) => {
    const xs = s.points.map((p) => p[0]);
    if (xs.length === 0) return;
    const width = binWidth(xs);
    values.unshift({ x: xs[0]! - width, y: 0, s: i });
    values.push({ x: xs.at(-1)! + width, y: 0, s: i });
  });
  const view = new vega.View(vega.parse(spec(plot, values, [from, to])), { renderer: 'none', logLevel: vega.Error });
  await view.runAsync();
  const svg = await view.toSVG();
  // The group inside the padding tells where the plotting area begins.
  const at = /<g[^>]*transform="translate\(([-\d.]+),([-\d.]+)\)"/.exec(svg);
  const size = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(svg);
  view.finalize();
  const left = Number(at?.[1] ?? 0);
  const plotWidth = view.width();
  return { svg: clean(svg), x: { from, to, left, right: left + plotWidth }, width: Number(size?.[1] ?? WIDTH), height: Number(size?.[2] ?? HEIGHT) };
}

function xRange(xs: number[], plot: Plot): [number, number] {
  const from = xs.reduce((a, b) => Math.min(a, b), Infinity);
  const to = xs.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!(to >= from)) return [0, 1];
  const half = plot.kind === 'steps' ? binWidth(xs) / 2 : 0;
  return from === to && half === 0 ? [from - 1, to + 1] : [from - half, to + half];
}

function binWidth(xs: number[]): number {
  const sorted = [...new Set(xs)].sort((a, b) => a - b);
  let least = Infinity;
  for (let i = 1; i < sorted.length; i++) least = Math.min(least, sorted[i]! - sorted[i - 1]!);
  return Number.isFinite(least) ? least : 1;
}

/** What Vega writes for readers of the drawing alone: here the figure around it speaks, and the page gives the size. */
const clean = (svg: string): string =>
  svg.replace(/ (?:role|aria-[a-z]+|class)="[^"]*"/g, '').replace(/^<svg([^>]*?) width="[\d.]+" height="[\d.]+"/, '<svg$1').replace(/ xmlns:xlink="[^"]*"| version="[^"]*"/g, '').replace('<svg', '<svg aria-hidden="true" focusable="false"');

function spec(plot: Plot, values: Array<{ x: number; y: number; s: number }>, x: [number, number]): Spec {
  const interpolate: 'step' | 'linear' = plot.kind === 'steps' ? 'step' : 'linear';
  const color = plot.series.map((s) => `var(--c${s.color % COLORS})`);
  const dash = plot.series.map((s) => DASHES[s.dash % DASHES.length]!.split(' ').filter(Boolean).map(Number));
  const single = plot.series.map((s) => s.points.length === 1);
  const axis = { labelColor: 'var(--muted)', titleColor: 'var(--muted)', domainColor: 'var(--line)', tickColor: 'var(--line)', labelFontSize: 11.5, titleFontSize: 11.5, titleFontWeight: 'normal' as const, labelFont: 'inherit', titleFont: 'inherit' };
  return {
    $schema: 'https://vega.github.io/schema/vega/v5.json', width: WIDTH - 70, height: HEIGHT - 60, padding: 6, autosize: 'pad',
    data: [{ name: 'points', values }],
    scales: [
      { name: 'x', type: 'linear', range: 'width', domain: x, nice: false, zero: false },
      { name: 'y', type: 'linear', range: 'height', domain: { data: 'points', field: 'y' }, nice: true, zero: plot.zero ?? plot.kind === 'steps' },
      { name: 'color', type: 'ordinal', domain: [...color.keys()], range: color },
    ],
    axes: [
      { ...axis, orient: 'bottom', scale: 'x', title: plot.xTitle, tickCount: 6, labelOverlap: true, ...(plot.kind === 'line' ? { tickMinStep: 1, format: ',d' } : {}) },
      { ...axis, orient: 'left', scale: 'y', title: plot.yTitle, tickCount: 5, grid: true, gridColor: 'var(--grid)', ...(plot.yFormat ? { format: plot.yFormat } : {}) },
    ],
    marks: [{
      type: 'group', clip: plot.kind === 'steps', encode: { enter: { width: { signal: 'width' }, height: { signal: 'height' } } }, from: { facet: { name: 'one', data: 'points', groupby: 's' } },
      marks: [
        ...(plot.kind === 'steps' ? [{
          type: 'area' as const, from: { data: 'one' },
          encode: { enter: { x: { scale: 'x', field: 'x' }, y: { scale: 'y', field: 'y' }, y2: { scale: 'y', value: 0 }, interpolate: { value: interpolate }, fill: { scale: 'color', field: 's' }, fillOpacity: { value: 0.14 } } },
        }] : []),
        {
          type: 'line' as const, from: { data: 'one' },
          encode: { enter: { x: { scale: 'x', field: 'x' }, y: { scale: 'y', field: 'y' }, interpolate: { value: interpolate }, stroke: { scale: 'color', field: 's' }, strokeWidth: { value: 1.8 }, strokeJoin: { value: 'round' }, strokeDash: { signal: `${JSON.stringify(dash)}[datum.s]` } } },
        },
        // A line of one point is invisible; few points are marked.
        {
          type: 'symbol' as const, from: { data: 'one' },
          encode: { enter: { x: { scale: 'x', field: 'x' }, y: { scale: 'y', field: 'y' }, size: { signal: `${JSON.stringify(single)}[datum.s] ? 36 : ${values.length <= 24 * plot.series.length && plot.kind === 'line' ? 14 : 0}` }, fill: { scale: 'color', field: 's' } } },
        },
      ],
    }],
  };
}
