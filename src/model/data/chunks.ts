import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { InputError } from '../../errors.js';

/** Bytes of a file, gunzipped if its name ends in .gz. Leaving the loop early closes it. */
export async function* chunks(path: string): AsyncGenerator<Buffer> {
  const raw = createReadStream(path);
  const stream = path.endsWith('.gz') ? raw.pipe(createGunzip()) : raw;
  if (stream !== raw) raw.on('error', (e) => stream.destroy(e));
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
  } catch (cause) {
    throw new InputError(`cannot read ${path}: ${(cause as Error).message}`, undefined, cause);
  } finally {
    raw.destroy();
  }
}
