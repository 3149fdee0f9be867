import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { tinyFolder, tinyPairs } from './cli.js';

/** A folder of the test file’s own, gone with it. */
export const dir = mkdtempSync(join(tmpdir(), 'edpo-winrate-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
export const lines = (path: string): Array<Record<string, unknown>> => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, unknown>);

export const policy = await tinyFolder(join(dir, 'policy'));
export const reference = await tinyFolder(join(dir, 'reference'), 2);
export const data = tinyPairs(join(dir, 'data.jsonl'), 40);
// The longer answer wins; says how long both are.
export const judge = join(dir, 'judge.mjs');
writeFileSync(judge, `import { createInterface } from 'node:readline';
for await (const line of createInterface({ input: process.stdin })) {
  const { id, a, b } = JSON.parse(line);
  console.log(JSON.stringify({ id, winner: a.length > b.length ? 'a' : b.length > a.length ? 'b' : 'tie', lengths: [a.length, b.length] }));
}`);
/** The command without its output_dir. */
export const base = ['eval-winrate', '--model_name_or_path', policy, '--ref_model_name_or_path', reference, '--dataset_name', data, '--judge', `command:node ${judge}`, '--max_new_tokens', '12', '--batch_size', '7'];
