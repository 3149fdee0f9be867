import type { Mark, Spec } from 'vega';
import { COLORS, DASHES, ends, type Plot } from './plots.js';

/** A linear axis as drawn: values at its two ends, and where these ends lie in units of the SVG. */
export interface Axis { from: number; to: number; begin: number; end: number }

/** A plot drawn: its SVG, and its axes for the script that shows values. */
export interface Drawn {
  svg: string;
  x: Axis;
  y: Axis;
  width: number;
}

// Small enough that text stays readable where a card is as narrow as a telephone.
const WIDTH = 340;
const HEIGHT = 200;
/** Labels of an axis, about. */
const TICKS = 5;
/** Up to so many points of a series are marked one by one. */
const MARKED = 30;

interface Value { x: number; y: number; s: number; name: string }

/** Draws a plot as SVG whose colours are the page's variables, so that one drawing serves light, dark and print. Vega is loaded here and nowhere else. */
export async function draw(plot: Plot): Promise<Drawn> {
  const vega = await import('vega');
  const values = plot.series.flatMap((s, i) => s.points.map(([x, y], k): Value => ({ x, y, s: i, name: s.look === 'hollow' ? '' : (s.names?.[k] ?? '') })).filter((v) => Number.isFinite(v.y)));
  const domain = plot.domain ?? xRange(plot);
  if (plot.kind === 'steps') {
    // A histogram's first and last bins end at the ground.
    plot.series.forEach((s, i) => {
      if (s.points.length === 0) return;
      values.unshift({ x: s.points[0]![0] - (s.bin ?? 0), y: 0, s: i, name: '' });
      values.push({ x: s.points.at(-1)![0] + (s.bin ?? 0), y: 0, s: i, name: '' });
    });
  }
  const view = new vega.View(vega.parse(spec(plot, values, domain)), { renderer: 'none', logLevel: vega.Error });
  await view.runAsync();
  const svg = await view.toSVG();
  // The group inside the padding tells where the plotting area begins.
  const at = /<g[^>]*transform="translate\(([-\d.]+),([-\d.]+)\)"/.exec(svg);
  const size = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(svg);
  if (!at || !size) throw new Error('this version of Vega writes another SVG: no group or no viewBox');
  const [left, top] = [Number(at[1]), Number(at[2])];
  const [low, high] = (view.scale('y') as { domain(): [number, number] }).domain();
  const drawn: Drawn = {
    svg: clean(svg, plot.id), width: Number(size[1]),
    x: { from: domain[0], to: domain[1], begin: left, end: left + view.width() },
    y: { from: low, to: high, begin: top + view.height(), end: top },
  };
  view.finalize();
  return drawn;
}

/** Where the points lie, whole bins included. */
function xRange(plot: Plot): [number, number] {
  const [from, to] = ends(plot.series.flatMap((s) => s.points.flatMap(([x]) => [x - (s.bin ?? 0) / 2, x + (s.bin ?? 0) / 2])));
  // Points stand off the edges, so that their names have room.
  if (plot.kind === 'points' && to > from) return [from - (to - from) / 20, to + (to - from) / 8];
  return to > from ? [from, to] : to === from ? [from - 1, to + 1] : [0, 1];
}

/**
 * Without what Vega writes for readers of the drawing alone: here the figure around it speaks, and the page gives the size. What the drawing
 * refers to Vega numbers throughout a process: renamed, so that a page does not depend on the pages before it.
 */
function clean(svg: string, id: string): string {
  const names = [...new Set([...svg.matchAll(/ id="([^"]+)"/g)].map((m) => m[1]!))];
  return names.reduce((text, name, i) => text.replaceAll(`"${name}"`, `"${id}-${i}"`).replaceAll(`#${name})`, `#${id}-${i})`), svg)
    .replace(/ (?:role|aria-[a-z]+|class)="[^"]*"/g, '').replace(/^<svg([^>]*?) width="[\d.]+" height="[\d.]+"/, '<svg$1').replace(/ xmlns:xlink="[^"]*"| version="[^"]*"/g, '').replace('<svg', '<svg aria-hidden="true" focusable="false"');
}

/** Range of y. What does not change but for rounding (a mean of equal numbers) gets a range around it. */
function yRange(plot: Plot, ys: number[]): [number, number] {
  const zero = plot.zero ?? plot.kind === 'steps';
  const [low, high] = ends(zero ? [0, ...ys] : ys);
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low > 1e-9 * size) return [low, high];
  const around = size > 0 ? size / 10 : 1;
  return low <= high ? [low - (zero && low >= 0 ? 0 : around), high + around] : [0, 1];
}

/** Steps are whole numbers: of few, each is labelled. */
function wholeTicks([from, to]: [number, number]): { values?: number[] } {
  return to - from <= 6 ? { values: Array.from({ length: Math.floor(to) - Math.ceil(from) + 1 }, (_, i) => Math.ceil(from) + i) } : {};
}

function spec(plot: Plot, values: Value[], x: [number, number]): Spec {
  const steps = plot.kind === 'steps';
  const free = plot.kind === 'points';
  const interpolate = { value: steps ? ('step' as const) : ('linear' as const) };
  const at = { x: { scale: 'x', field: 'x' }, y: { scale: 'y', field: 'y' } };
  const color = plot.series.map((s) => `var(--c${s.color % COLORS})`);
  const dash = plot.series.map((s) => DASHES[s.dash % DASHES.length]!.split(' ').filter(Boolean).map(Number));
  // A line of one point would be invisible.
  const dot = plot.series.map((s) => (steps || s.look === 'line' || s.points.length > MARKED ? 0 : s.points.length === 1 || free ? 40 : 16));
  const of = (list: unknown[]): { signal: string } => ({ signal: `${JSON.stringify(list)}[datum.s]` });
  const y = yRange(plot, [...values.map((v) => v.y), ...plot.series.flatMap((s) => (s.bars ?? []).flat())]);
  // Below a thousandth, exponents are shorter.
  const format = plot.yFormat ?? (Math.max(-y[0], y[1]) < 1e-3 ? '~g' : undefined);
  const axis = { labelColor: 'var(--muted)', titleColor: 'var(--muted)', domainColor: 'var(--line)', tickColor: 'var(--line)', labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal' as const, labelFont: 'inherit', titleFont: 'inherit' };
  const across: Mark[] = plot.level === undefined ? [] : [{
    type: 'rule', clip: true, encode: { enter: { x: { value: 0 }, x2: { signal: 'width' }, y: { scale: 'y', value: plot.level }, stroke: { value: 'var(--muted)' }, strokeDash: { value: [1, 3] } } },
  }];
  const means: Mark[] = plot.series.flatMap((s, i): Mark[] => (s.mean === undefined ? [] : [{
    type: 'rule', clip: true, encode: { enter: { x: { scale: 'x', value: s.mean }, y: { value: 0 }, y2: { signal: 'height' }, stroke: { value: color[i] }, strokeWidth: { value: 1.4 }, strokeDash: { value: [3, 3] } } },
  }]));
  const bars: Mark[] = plot.series.flatMap((s, i) => (s.bars ?? []).map(([low, high], k): Mark => ({
    type: 'rule', clip: true, encode: { enter: { x: { scale: 'x', value: s.points[k]![0] }, y: { scale: 'y', value: low }, y2: { scale: 'y', value: high }, stroke: { value: color[i] }, strokeOpacity: { value: 0.55 } } },
  })));
  // All drawings have one size, whatever their labels: text is as large in each, and cards side by side line up.
  return {
    $schema: 'https://vega.github.io/schema/vega/v5.json', width: WIDTH, height: HEIGHT, padding: 5, autosize: { type: 'fit', contains: 'padding' },
    data: [{ name: 'points', values }],
    scales: [
      { name: 'x', type: 'linear', range: 'width', domain: x, nice: false, zero: false },
      { name: 'y', type: 'linear', range: 'height', domain: y, nice: TICKS, zero: false },
      { name: 'color', type: 'ordinal', domain: [...color.keys()], range: color },
    ],
    axes: [
      { ...axis, orient: 'bottom', scale: 'x', title: plot.xTitle, tickCount: TICKS, labelOverlap: true, labelFlush: true, ...(plot.kind !== 'line' ? {} : { tickMinStep: 1, format: ',d', ...wholeTicks(x) }) },
      { ...axis, orient: 'left', scale: 'y', tickCount: TICKS, grid: true, gridColor: 'var(--grid)', domain: false, ticks: false, labelPadding: 6, ...(format ? { format } : {}) },
    ],
    marks: [...across, ...bars, {
      type: 'group', clip: steps, encode: { enter: { width: { signal: 'width' }, height: { signal: 'height' } } }, from: { facet: { name: 'one', data: 'points', groupby: 's' } },
      marks: [
        ...(steps ? [{ type: 'area' as const, from: { data: 'one' }, encode: { enter: { ...at, y2: { scale: 'y', value: 0 }, interpolate, fill: { scale: 'color', field: 's' }, fillOpacity: { value: 0.16 } } } }] : []),
        { type: 'line' as const, from: { data: 'one' }, encode: { enter: { ...at, interpolate, stroke: { scale: 'color', field: 's' }, strokeWidth: of(plot.series.map((s) => (s.look === 'dots' ? 0 : 1.8))), strokeJoin: { value: 'round' as const }, strokeDash: of(dash) } } },
        ...(dot.some((size) => size > 0) ? [{ type: 'symbol' as const, from: { data: 'one' }, encode: { enter: { ...at, size: of(dot), fill: of(plot.series.map((s, i) => (s.look === 'hollow' ? 'var(--panel)' : color[i]))), ...(free ? { stroke: { scale: 'color', field: 's' }, strokeWidth: { value: 1.4 } } : {}) } } }] : []),
        ...(plot.labelled === true ? [{ type: 'text' as const, from: { data: 'one' }, encode: { enter: { ...at, text: { field: 'name' }, dx: { value: 6 }, dy: { value: -5 }, fontSize: { value: 10 }, fill: { value: 'var(--muted)' }, font: { value: 'inherit' } } } }] : []),
      ],
    }, ...means],
  };
}
