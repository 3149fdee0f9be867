/** Text made safe for HTML; control characters that no document may hold are shown as their pictures. */
export const escape = (text: string): string =>
  text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');

/** A number for people: four figures, no trailing noise; whole numbers whole. */
export function figure(x: unknown): string {
  if (typeof x !== 'number') return x === null || x === undefined ? '–' : String(x);
  if (!Number.isFinite(x)) return '–';
  if (Number.isInteger(x) && Math.abs(x) < 1e15) return x.toLocaleString('en-US').replace(/,/g, '\u202f').replace('-', '−');
  const text = Math.abs(x) >= 1e4 ? Math.round(x).toLocaleString('en-US').replace(/,/g, '\u202f') : String(Number(x.toPrecision(4)));
  return text.replace(/-/g, '−');
}

/** A mean with its standard error: the error to two figures, the mean to as many decimals. */
export function pm(x: number | undefined, se: number | undefined): string | undefined {
  if (x === undefined || se === undefined || !(se > 0)) return x === undefined ? undefined : figure(x);
  const decimals = Math.min(12, Math.max(0, 1 - Math.floor(Math.log10(se))));
  return `${x.toFixed(decimals)} ± ${se.toFixed(decimals)}`.replaceAll('-', '−');
}

/** A share. */
export const percent = (x: unknown): string => (typeof x === 'number' && Number.isFinite(x) ? `${(100 * x).toFixed(1)} %` : '–');

export interface TableOptions {
  caption: string;
  /** Hides the caption from sight (it stands as a heading already). */
  quiet?: boolean;
  id?: string;
  /** A number of each row, for the script. */
  xs?: number[];
}

/** A table of cells of text (escaped here), the first column row headers; a wide one scrolls on its own and can be reached by keyboard. */
export function table(head: string[], body: string[][], o: TableOptions): string {
  const cells = (row: string[]): string => row.map((c, i) => (i === 0 ? `<th scope="row">${escape(c)}</th>` : `<td>${escape(c)}</td>`)).join('');
  const rows = body.map((r, i) => `<tr${o.xs ? ` data-x="${o.xs[i]}"` : ''}>${cells(r)}</tr>`).join('');
  return `<div class="scroll" tabindex="0" role="group" aria-label="${escape(o.caption)}"><table${o.id ? ` id="${o.id}"` : ''}><caption${o.quiet ? ' class="hidden"' : ''}>${escape(o.caption)}</caption><thead><tr>${head.map((h) => `<th scope="col">${escape(h)}</th>`).join('')}</tr></thead><tbody>${rows}</tbody></table></div>`;
}
