import { InputError } from '../../errors.js';
import { lines } from '../data/lines.js';

/** A table of named rows or of numbers: AlpacaEval's instruction_difficulty.csv, df_gamed.csv and weights. */
export interface CsvTable {
  columns: string[];
  /** Cells as text, one list a row, as many as columns. */
  rows: string[][];
  /** A column as numbers; an empty cell is NaN. Throws where the column is missing or a cell is no number. */
  numbers(column: string): Float64Array;
}

/** Reads a plain comma-separated table (also .gz) with a header line. Quoted cells are refused: these tables hold numbers and names only. */
export async function readCsv(path: string): Promise<CsvTable> {
  const rows: string[][] = [];
  const places: number[] = [];
  let columns: string[] | undefined;
  for await (const { text, number } of lines(path)) {
    const line = text.replace(/\r$/, '').replace(/^\ufeff/, '');
    if (line === '') continue;
    if (line.includes('"')) throw new InputError(`${path} line ${number}: expected a plain table, got a quoted cell`, 'save it without quotes');
    const cells = line.split(',');
    if (!columns) {
      columns = cells;
      continue;
    }
    if (cells.length !== columns.length)
      throw new InputError(
        `${path} line ${number}: expected ${columns.length} cells as in the header, got ${cells.length}`,
        'mend or remove the line',
      );
    rows.push(cells);
    places.push(number);
  }
  if (!columns) throw new InputError(`${path}: expected a table with a header line, got an empty file`);
  const header = columns;
  const numbers = (column: string): Float64Array => {
    const at = header.indexOf(column);
    if (at < 0) throw new InputError(`${path}: column ${column} is missing; it has ${header.map((c) => c || '(unnamed)').join(', ')}`);
    return Float64Array.from(rows, (cells, i) => {
      const cell = cells[at]!.trim();
      const value = cell === '' || cell.toLowerCase() === 'nan' ? NaN : Number(cell);
      if (Number.isNaN(value) && cell !== '' && cell.toLowerCase() !== 'nan')
        throw new InputError(`${path} line ${places[i]}: ${column} must be a number, got ${JSON.stringify(cell)}`);
      return value;
    });
  };
  return { columns: header, rows, numbers };
}
