import { escape } from './html.js';
import { draw } from './draw_plot.js';
import { COLORS, DASHES, type Plot } from './plots.js';
import { LIGHT_COLORS } from './style.js';

const LINE = 16;

/** A figure as an SVG file of its own: the page's drawing in its light colours, with title and legend. */
export async function standaloneSvg(plot: Plot): Promise<string> {
  const drawn = await draw(plot);
  const [, width, height] = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(drawn.svg)!.map(Number) as [number, number, number];
  const title = `${plot.title}${plot.yTitle === '' ? '' : `: ${plot.yTitle}`}`;
  const legend = plot.series.map((s, i) => {
    const y = 24 + height + LINE * (i + 1);
    return `<line x1="8" x2="34" y1="${y - 4}" y2="${y - 4}" stroke="var(--c${s.color % COLORS})" stroke-width="2.4" stroke-dasharray="${DASHES[s.dash % DASHES.length]}"/><text x="42" y="${y}" font-size="12" fill="var(--ink)">${escape(s.label)}</text>`;
  });
  const whole = 24 + height + LINE * (plot.series.length + 1);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${whole}" width="${2 * width}" height="${2 * whole}" font-family="sans-serif" role="img" aria-label="${escape(title)}">
<rect width="100%" height="100%" fill="var(--panel)"/><text x="8" y="17" font-size="13" font-weight="600" fill="var(--ink)">${escape(title)}</text>
<g transform="translate(0 24)">${drawn.svg.replace('<svg', `<svg width="${width}" height="${height}"`)}</g>
${legend.join('\n')}</svg>
`;
  return svg.replace(/var\(--([a-z0-9]+)\)/g, (whole, name: string) => LIGHT_COLORS[name] ?? whole);
}

const field = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** A figure's values: one line a point. */
export function valuesCsv(plot: Plot): string {
  const rows = plot.series.flatMap((s) => s.points.map(([x, y], k) => [s.label, s.names?.[k] ?? '', String(x), String(y), ...(s.bars?.[k] ?? ['', '']).map(String)]));
  return [['series', 'point', plot.xTitle || 'x', plot.yTitle || plot.title, 'low', 'high'], ...rows].map((r) => `${r.map(field).join(',')}\n`).join('');
}
