import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { InUse, lockFolder, waitForFolder } from '../../src/model/files/lock.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-lock-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const path = join(dir, '.edpo.lock');
const take = (): { notes: string[]; unlock: () => void } => {
  const notes: string[] = [];
  return { notes, unlock: lockFolder(dir, (n) => notes.push(n)) };
};
const refusal = (): unknown => {
  try {
    return void take();
  } catch (error) {
    return error;
  }
};
/** A lock as another process left it, `seconds` ago. */
const left = (text: string, seconds: number): void => {
  writeFileSync(path, text);
  const then = new Date(Date.now() - 1000 * seconds);
  utimesSync(path, then, then);
};

t.test('whose lock stands: of a living or dead process here, of another machine by its age, half-written by its age', async (t) => {
  const there = JSON.stringify({ pid: 4194000, host: `${hostname()}-other` });
  // Process 1 lives on every machine; 4194000 is above what Linux gives.
  for (const [text, seconds] of [[JSON.stringify({ pid: 1, host: hostname() }), 1e5], [there, 1], ['', 0]] as const) {
    left(text, seconds);
    t.ok(refusal() instanceof InUse, text);
  }
  left(there, 1);
  t.match((refusal() as InUse).message, `in use by process 4194000 on ${hostname()}-other`);
  for (const [text, seconds] of [[JSON.stringify({ pid: 4194000, host: hostname() }), 1], [there, 600], ['{"pi', 60]] as const) {
    left(text, seconds);
    const { notes, unlock } = take();
    t.match(notes, [/took over .* which is gone/]);
    unlock();
    t.notOk(existsSync(path));
  }
});

t.test('waiting: until it is released, or until told to stop', async (t) => {
  const other = JSON.stringify({ pid: 1, host: hostname() });
  left(other, 0);
  let waits = 0;
  setTimeout(() => rmSync(path), 700);
  const unlock = await waitForFolder(dir, () => t.fail('nothing is taken over'), { waiting: () => waits++ });
  t.equal(waits, 1);
  t.ok(existsSync(path));
  unlock!();
  left(other, 0);
  const began = Date.now();
  t.equal(await waitForFolder(dir, () => undefined, { waiting: () => undefined, stop: () => Date.now() - began > 300 }), undefined);
});
