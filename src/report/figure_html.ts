import { escape, figure, table } from './html.js';
import { DASHES, draw, thin, type Plot } from './plots.js';

/** A plot as a figure: drawing, legend, what it says in words, and its values as a table. */
export async function figureHtml(plot: Plot): Promise<string> {
  const { series, thinned } = thin(plot.series);
  const shown = { ...plot, series };
  const drawn = await draw(shown);
  const words = inWords(shown);
  const { from, to, left, right } = drawn.x;
  const tableId = `t-${plot.id}`;
  const legend = series.map((s) => `<li><svg width="26" height="8" aria-hidden="true"><line x1="0" x2="26" y1="4" y2="4" stroke="var(--c${s.color % 8})" stroke-width="2.4" stroke-dasharray="${DASHES[s.dash % DASHES.length]}"/></svg>${escape(s.label)}</li>`).join('');
  const notes = [plot.note, thinned ? 'Each point is the mean over several steps.' : undefined].filter((n): n is string => n !== undefined);
  return `<figure id="f-${plot.id}" aria-labelledby="h-${plot.id}">
<h3 id="h-${plot.id}">${escape(plot.title)}</h3>
<div class="plot" tabindex="0" role="group" aria-roledescription="plot" aria-label="${escape(`${plot.title}. ${words} Arrow keys go through the values.`)}" data-x="${[from, to, left, right, drawn.width].join(' ')}" data-table="${tableId}">${drawn.svg}<div class="tip" aria-hidden="true" hidden></div></div>
${series.length > 1 || ![plot.title, plot.yTitle].some((t) => t.toLowerCase() === series[0]!.label.toLowerCase()) ? `<ul class="legend">${legend}</ul>` : ''}
<figcaption>${notes.map((n) => `<p class="small">${escape(n)}</p>`).join('')}</figcaption>
<details><summary>Values<span class="hidden"> of ${escape(plot.title)}</span></summary><p class="small">${escape(words)}</p>${values(shown, tableId)}</details>
</figure>`;
}

/** The text alternative: where each line begins and ends, and its extremes. */
export function inWords(plot: Plot): string {
  return plot.series.map((s) => {
    const points = s.points.filter((p) => Number.isFinite(p[1]));
    if (points.length === 0) return `${s.label}: no values.`;
    const [first, last] = [points[0]!, points.at(-1)!];
    const low = points.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = points.reduce((a, b) => (b[1] > a[1] ? b : a));
    const unit = plot.kind === 'steps' ? plot.xTitle : 'step';
    if (plot.kind === 'steps') return `${s.label}: from ${figure(first[0])} to ${figure(last[0])} ${unit}, most (${figure(100 * high[1])} %) around ${figure(high[0])}.`;
    if (points.length === 1) return `${s.label}: ${figure(first[1])} at ${unit} ${figure(first[0])}.`;
    return `${s.label}: ${figure(first[1])} at ${unit} ${figure(first[0])}, ${figure(last[1])} at ${unit} ${figure(last[0])}; lowest ${figure(low[1])} at ${figure(low[0])}, highest ${figure(high[1])} at ${figure(high[0])}.`;
  }).join(' ');
}

function values(plot: Plot, id: string): string {
  const rows = new Map<number, string[]>();
  plot.series.forEach((s, i) => {
    for (const [x, y] of s.points) {
      const row = rows.get(x) ?? plot.series.map(() => '–');
      row[i] = figure(y);
      rows.set(x, row);
    }
  });
  const body = [...rows.entries()].sort((a, b) => a[0] - b[0]).map(([x, row]) => [figure(x), ...row]);
  return table([plot.xTitle, ...plot.series.map((s) => s.label)], body, { caption: `${plot.title}: values`, quiet: true, id });
}
