import { InputError } from '../../errors.js';
import { chunks } from './chunks.js';

const [QUOTE, BACKSLASH, COMMA, OPEN, CLOSE, BRACE, BRACE_END, NEWLINE, RETURN, TAB, SPACE] = Array.from('"\\,[]{}\n\r\t ', (c) => c.charCodeAt(0));
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/** Before the bracket; an item or the end may come; an item must come; inside or behind an item; behind the array. */
type State = 'before' | 'opened' | 'after comma' | 'item' | 'end';

/**
 * Items of a JSON array, cut out at the commas of its own level so that only one is held at a time; the caller parses them.
 * @returns the text of each item and the line (from 1) it begins on.
 */
export async function* jsonItems(path: string): AsyncGenerator<{ text: string; line: number }> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let state = 'before' as State;
  let line = 1;
  let begin = 1;
  let depth = 0;
  let quoted = false;
  let escaped = false;
  let parts: Buffer[] = [];
  const take = (): { text: string; line: number } => {
    try {
      return { text: decoder.decode(Buffer.concat(parts)), line: begin };
    } catch {
      throw new InputError(`${path}: the item that begins on line ${begin} is not valid UTF-8`, 'save the file as UTF-8');
    } finally {
      parts = [];
    }
  };
  const noJson = (what: string): InputError => new InputError(`${path} line ${line} is no JSON: expected ${what}`, 'mend the file; one object per line belongs in a .jsonl file');
  let bom = true;
  for await (const chunk of chunks(path)) {
    let from = bom && chunk.subarray(0, 3).equals(BOM) ? 3 : 0;
    bom = false;
    for (let i = from; i < chunk.length; i++) {
      const b = chunk[i]!;
      if (b === NEWLINE) line++;
      if (quoted) {
        if (escaped) escaped = false;
        else if (b === BACKSLASH) escaped = true;
        else if (b === QUOTE) quoted = false;
        continue;
      }
      const blank = b === SPACE || b === TAB || b === RETURN || b === NEWLINE;
      if (blank && state !== 'item') continue;
      if (state === 'before') {
        if (b !== OPEN) throw new InputError(`${path}: expected an array of rows, got ${b === BRACE ? 'an object' : 'something else'}`, 'one object per line belongs in a .jsonl file');
        state = 'opened';
      } else if (state === 'end') throw noJson('nothing behind the array');
      else if (depth === 0 && (b === COMMA || b === CLOSE)) {
        if (state === 'item') {
          parts.push(chunk.subarray(from, i));
          yield take();
        } else if (b === COMMA || state === 'after comma') throw noJson('a row');
        state = b === COMMA ? 'after comma' : 'end';
      } else {
        if (state !== 'item') {
          state = 'item';
          begin = line;
          from = i;
        }
        if (b === QUOTE) quoted = true;
        else if (b === BRACE || b === OPEN) depth++;
        else if ((b === BRACE_END || b === CLOSE) && --depth < 0) throw noJson('a comma or the end of the array');
      }
    }
    if (state === 'item') parts.push(chunk.subarray(from));
  }
  if (state !== 'end') throw new InputError(`${path} ends on line ${line} ${state === 'before' ? 'without an array of rows' : 'in the middle of the array'}`, 'the file is cut; copy or download it again');
}
