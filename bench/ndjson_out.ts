import { appendFileSync, writeFileSync } from 'node:fs';

/** Writes records as NDJSON lines: to the file `out`, at its end or with `fresh` from its start, or to stdout where there is none. */
export function ndjsonOut(out: string | undefined, o: { fresh?: boolean } = {}): (record: object) => void {
  if (out && o.fresh) writeFileSync(out, '');
  return (record) => {
    const line = `${JSON.stringify(record)}\n`;
    if (out) appendFileSync(out, line);
    else process.stdout.write(line);
  };
}
