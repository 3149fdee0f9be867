/** A column of a text table: its heading, and how a record fills it. Numbers stand to the right. */
export interface Column<T> {
  head: string;
  cell: (record: T) => string | number;
}

/** Four significant digits at most, no exponent: 0.0123, 4.56, 12345. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(6, digits));
}

/** Lines of an aligned table with a heading; the last one ends with a newline. */
export function table<T>(columns: Column<T>[], records: T[]): string {
  const cells = records.map((r) => columns.map((c) => {
    const value = c.cell(r);
    return typeof value === 'number' ? { text: figure(value), right: true } : { text: value, right: false };
  }));
  const width = columns.map((c, i) => Math.max(c.head.length, ...cells.map((row) => row[i]!.text.length)));
  const right = columns.map((_, i) => cells.some((row) => row[i]!.right));
  const line = (texts: string[]): string => texts.map((s, i) => (right[i] ? s.padStart(width[i]!) : s.padEnd(width[i]!))).join('  ').trimEnd();
  return `${[line(columns.map((c) => c.head)), ...cells.map((row) => line(row.map((c) => c.text)))].join('\n')}\n`;
}
