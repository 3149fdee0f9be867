import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';

/** The folder of real inputs, if the environment names one. */
export const sharedFolder = process.env['EDPO_SHARED'];

/** Path of a real input; a missing file is an error, never a skip. */
export function sharedData(...parts: string[]): string {
  const path = join(sharedFolder!, 'data', ...parts);
  if (!existsSync(path)) throw new Error(`EDPO_SHARED is set, but ${parts.join('/')} is not there`);
  return path;
}

/** A test over real inputs: skipped, and counted as skipped, where EDPO_SHARED is unset. */
export function realTest(name: string, body: (t: Test) => Promise<void>): void {
  void t.test(name, sharedFolder ? {} : { skip: 'EDPO_SHARED is not set' }, body);
}
