import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Purpose } from '../../src/config/contradictions_types.js';
import { loadConfig } from '../../src/config/load.js';
import { InputErrors } from '../../src/errors.js';

/** A folder of the test file’s own, gone with it. */
export const dir = mkdtempSync(join(tmpdir(), 'edpo-config-'));
t.teardown(() => rmSync(dir, { recursive: true }));
let files = 0;
const yaml = (text: string): string => {
  const path = join(dir, `${files++}.yaml`);
  writeFileSync(path, text);
  return path;
};
/** Loads a configuration of this text. */
export const load = (text: string, flags: Record<string, string> = {}, command: Purpose = 'config') => loadConfig({ file: yaml(text), flags, command });
/** What is wrong with it, a sentence each. */
export const problemsOf = (text: string, flags: Record<string, string> = {}, command: Purpose = 'config'): string[] => {
  try {
    load(text, flags, command);
    return [];
  } catch (error) {
    if (!(error instanceof InputErrors)) throw error;
    return error.problems.map((p) => p.replace(/ {2,}/g, ' '));
  }
};
