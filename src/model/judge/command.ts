import { spawn } from 'node:child_process';
import ndjson from 'ndjson';
import { EdpoError } from '../../errors.js';
import type { Judge } from './types.js';

/**
 * A program as the judge: it reads one JSON object {id, prompt, a, b} a line and prints {id, winner: "a" | "b" | "tie"} for each, in any
 * order. A reply that is missing or of another form counts as invalid; nothing is guessed. Other keys of a reply are kept beside the verdict.
 */
export const commandJudge = (program: string): Judge => ({
  identity: { judge: program },
  async ask(questions, each) {
    const child = spawn(program, { shell: true, stdio: ['pipe', 'pipe', 'inherit'] });
    const open = new Set<string>();
    let asked = 0;
    const closed = new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    // A judge that ends early closes its input; what it said counts, the rest is invalid.
    child.stdin.on('error', () => undefined);
    const reading = (async () => {
      // Not strict: a line that is no JSON is no verdict.
      for await (const reply of child.stdout.pipe(ndjson.parse({ strict: false })) as AsyncIterable<Record<string, unknown>>) {
        const { id: given, winner, ...detail } = reply;
        const id = String(given);
        if (!open.delete(id)) continue;
        each(id, winner === 'a' || winner === 'b' || winner === 'tie' ? winner : 'invalid', detail);
      }
    })();
    let ended = false;
    const end = closed.catch(() => null).then(() => (ended = true));
    const shut = new Promise((r) => child.stdin.once('close', r));
    const items = questions[Symbol.asyncIterator]();
    let next = items.next();
    for (;;) {
      await Promise.race([next, end]);
      if (ended || child.stdin.destroyed) break;
      const item = await next;
      if (item.done) break;
      next = items.next();
      open.add(item.value.id);
      asked++;
      // A program is shown the prompt's text.
      const { turns: _, ...shown } = item.value;
      if (child.stdin.write(`${JSON.stringify(shown)}\n`)) continue;
      await Promise.race([end, shut, new Promise((r) => child.stdin.once('drain', r))]);
    }
    child.stdin.end();
    const code = await closed;
    await reading;
    if (code !== 0) throw new EdpoError(`the judge "${program}" ended with exit code ${code}; ${asked - open.size} verdicts are kept`, { hint: 'run it by hand with one line {"id":"0","prompt":"…","a":"…","b":"…"}' });
    for (const id of open) each(id, 'invalid');
    // It ended well before the last question: what it was never asked is no verdict either.
    for (let item = await next; !item.done; item = await items.next()) each(item.value.id, 'invalid');
  },
});
