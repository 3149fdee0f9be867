/** Text made safe for HTML; control characters that no document may hold are shown as their pictures. */
export const escape = (text: string): string =>
  text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');

/** A number for people: four figures, no trailing noise; whole numbers whole. */
export function figure(x: unknown): string {
  if (typeof x !== 'number') return x === null || x === undefined ? '–' : String(x);
  if (!Number.isFinite(x)) return '–';
  if (Number.isInteger(x) && Math.abs(x) < 1e15) return x.toLocaleString('en-US').replace(/,/g, '\u202f').replace('-', '−');
  const text = Math.abs(x) >= 1e4 ? Math.round(x).toLocaleString('en-US').replace(/,/g, '\u202f') : String(Number(x.toPrecision(4)));
  return text.replace('-', '−');
}

export interface TableOptions {
  caption: string;
  /** Hides the caption from sight (it stands as a heading already). */
  quiet?: boolean;
  /** First column holds row headers. */
  rowHeads?: boolean;
  id?: string;
}

/** A table of cells of text (escaped here); a wide one scrolls on its own and can be reached by keyboard. */
export function table(head: string[], body: string[][], o: TableOptions): string {
  const cells = (row: string[]): string => row.map((c, i) => (i === 0 && o.rowHeads !== false ? `<th scope="row">${escape(c)}</th>` : `<td>${escape(c)}</td>`)).join('');
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escape(o.caption)}"><table${o.id ? ` id="${o.id}"` : ''}><caption${o.quiet ? ' class="hidden"' : ''}>${escape(o.caption)}</caption><thead><tr>${head.map((h) => `<th scope="col">${escape(h)}</th>`).join('')}</tr></thead><tbody>${body.map((r) => `<tr>${cells(r)}</tr>`).join('')}</tbody></table></div>`;
}
