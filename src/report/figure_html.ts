import { escape, figure, table } from './html.js';
import { draw, type Axis } from './draw_plot.js';
import { COLORS, DASHES, thin, type Plot, type Series } from './plots.js';

/** A plot as a figure: drawing, legend, what it says in words, and its values as a table. */
export async function figureHtml(plot: Plot): Promise<string> {
  const { series, thinned } = plot.kind === 'points' ? { series: plot.series, thinned: false } : thin(plot.series);
  const shown = { ...plot, series };
  const drawn = await draw(shown);
  const words = inWords(shown);
  const tableId = `t-${plot.id}`;
  const notes = [plot.note, thinned ? 'Each point is the mean over several steps.' : undefined].filter((n): n is string => n !== undefined);
  // One line needs no legend where the title says what it is.
  const legend = series.length > 1 || !isNamed(plot, series[0]!) ? `<ul class="legend">${series.map((s) => `<li>${swatch(s)}${escape(s.label)}</li>`).join('')}</ul>` : '';
  return `<figure id="f-${plot.id}" aria-labelledby="h-${plot.id}">
<h3 id="h-${plot.id}">${escape(plot.title)}${plot.yTitle === '' ? '' : ` <span class="unit">${escape(plot.yTitle)}</span>`}</h3>
<div class="plot" tabindex="0" role="application" aria-roledescription="plot" aria-label="${escape(`${[plot.title, plot.yTitle].filter(Boolean).join(', ')}. ${words} Arrow keys go through the values.`)}" data-x="${numbers(drawn.x)}" data-y="${numbers(drawn.y)}" data-width="${drawn.width}" data-colors="${series.map((s) => s.color % COLORS).join(' ')}" data-table="${tableId}">${drawn.svg}<div class="tip" aria-hidden="true" hidden></div></div>
${legend}
${notes.length > 0 ? `<figcaption>${notes.map((n) => `<p class="small">${escape(n)}</p>`).join('')}</figcaption>` : ''}
<details><summary>Values<span class="hidden"> of ${escape(plot.title)}</span></summary><p class="small">${escape(words)}</p>${values(shown, tableId)}</details>
</figure>`;
}

const numbers = (a: Axis): string => [a.from, a.to, a.begin, a.end].join(' ');
const isNamed = (plot: Plot, s: Series): boolean => plot.title.toLowerCase() === s.label.toLowerCase();
const swatch = (s: Series): string => `<svg width="26" height="8" aria-hidden="true"><line x1="0" x2="26" y1="4" y2="4" stroke="var(--c${s.color % COLORS})" stroke-width="2.4" stroke-dasharray="${DASHES[s.dash % DASHES.length]}"/></svg>`;

/** The text alternative: where each line begins and ends, and its extremes. */
export function inWords(plot: Plot): string {
  const unit = plot.kind === 'line' ? 'step' : plot.xTitle;
  return plot.series.map((s) => {
    const points = s.points.filter((p) => Number.isFinite(p[1]));
    if (points.length === 0) return `${s.label}: no values.`;
    const [first, last] = [points[0]!, points.at(-1)!];
    const low = points.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = points.reduce((a, b) => (b[1] > a[1] ? b : a));
    if (plot.kind === 'steps') return `${s.label}: from ${figure(first[0])} to ${figure(last[0])} ${unit}, most (${figure(100 * high[1])} %) around ${figure(high[0])}.`;
    if (plot.kind === 'points') return `${s.label}: ${points.map(([x, y], i) => `${plot.yFormat === '~%' ? `${figure(100 * y)} %` : figure(y)} at ${figure(x)}${s.names?.[i] ? ` (${s.names[i]})` : ''}`).join(', ')}.`;
    if (points.length === 1) return `${s.label}: ${figure(first[1])} at ${unit} ${figure(first[0])}.`;
    return `${s.label}: ${figure(first[1])} at ${unit} ${figure(first[0])}, ${figure(last[1])} at ${unit} ${figure(last[0])}; lowest ${figure(low[1])} at ${figure(low[0])}, highest ${figure(high[1])} at ${figure(high[0])}.`;
  }).join(' ');
}

/** The values as a table, which the page's script reads too: each row knows its x. */
function values(plot: Plot, id: string): string {
  if (plot.kind === 'points') return points(plot, id);
  const rows = new Map<number, string[]>();
  plot.series.forEach((s, i) => {
    for (const [x, y] of s.points) {
      const row = rows.get(x) ?? plot.series.map(() => '–');
      row[i] = figure(y);
      rows.set(x, row);
    }
  });
  const bins = new Map(plot.series.flatMap((s) => s.points.map(([x]): [number, number] => [x, s.bin ?? 0])));
  const name = (x: number): string => (bins.get(x)! > 0 ? `${figure(x - bins.get(x)! / 2)} to ${figure(x + bins.get(x)! / 2)}` : figure(x));
  const sorted = [...rows.entries()].sort((a, b) => a[0] - b[0]);
  return table([plot.xTitle, ...plot.series.map((s) => s.label)], sorted.map(([x, row]) => [name(x), ...row]), { caption: `${plot.title}: values`, quiet: true, id, xs: sorted.map(([x]) => x) });
}

/** Of points each has a row of its own: two may lie at one x. */
function points(plot: Plot, id: string): string {
  const rows = plot.series.flatMap((s, i) => s.points.map(([x, y], k) => ({ x, cells: [`${figure(x)}${s.names?.[k] ? ` (${s.names[k]})` : ''}`, ...plot.series.map((_, j) => (j === i ? figure(y) : '–'))] })));
  rows.sort((a, b) => a.x - b.x);
  return table([plot.xTitle, ...plot.series.map((s) => s.label)], rows.map((r) => r.cells), { caption: `${plot.title}: values`, quiet: true, id, xs: rows.map((r) => r.x) });
}
