import { InputError } from '../../errors.js';
import { chunks } from './chunks.js';

/**
 * Lines of a text file (gunzipped if it ends in .gz), split at \n only: texts hold U+2028 and friends, which are no line ends here.
 * Streams; at most one line is held. Invalid UTF-8 is an InputError with the line's number (from 1).
 */
export async function* lines(path: string): AsyncGenerator<{ text: string; number: number }> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest: Buffer[] = [];
  let number = 0;
  const take = (parts: Buffer[]): { text: string; number: number } => {
    number++;
    try {
      return { text: decoder.decode(parts.length === 1 ? parts[0] : Buffer.concat(parts)), number };
    } catch {
      throw new InputError(`${path} line ${number} is not valid UTF-8`, 'save the file as UTF-8');
    }
  };
  for await (const chunk of chunks(path)) {
    let at = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, at)) {
      rest.push(chunk.subarray(at, end));
      yield take(rest);
      rest = [];
      at = end + 1;
    }
    if (at < chunk.length) rest.push(chunk.subarray(at));
  }
  if (rest.length > 0) yield take(rest);
}
