import { spawn } from 'node:child_process';
import ndjson from 'ndjson';
import { EdpoError } from '../../errors.js';

/** One comparison for a judge: the prompt as text, and two answers. */
export interface Question {
  id: string;
  prompt: string;
  a: string;
  b: string;
}
export type Verdict = 'a' | 'b' | 'tie' | 'invalid';

/**
 * Asks a program: it reads one JSON object {id, prompt, a, b} a line and prints {id, winner: "a" | "b" | "tie"} for each, in any order.
 * A reply that is missing or of another form counts as invalid; nothing is guessed.
 */
export async function askCommand(program: string, questions: Question[], each: (id: string, verdict: Verdict) => void): Promise<void> {
  const child = spawn(program, { shell: true, stdio: ['pipe', 'pipe', 'inherit'] });
  const open = new Set(questions.map((q) => q.id));
  const closed = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  // A judge that ends early closes its input; what it said counts, the rest is invalid.
  child.stdin.on('error', () => undefined);
  const reading = (async () => {
    // Not strict: a line that is no JSON is no verdict.
    for await (const reply of child.stdout.pipe(ndjson.parse({ strict: false })) as AsyncIterable<{ id?: unknown; winner?: unknown }>) {
      const id = String(reply.id);
      if (!open.delete(id)) continue;
      each(id, reply.winner === 'a' || reply.winner === 'b' || reply.winner === 'tie' ? reply.winner : 'invalid');
    }
  })();
  let ended = false;
  void closed.catch(() => undefined).then(() => (ended = true));
  for (const q of questions) {
    if (ended || child.stdin.destroyed) break;
    if (child.stdin.write(`${JSON.stringify(q)}\n`)) continue;
    await Promise.race([closed, new Promise((r) => child.stdin.once('drain', r)), new Promise((r) => child.stdin.once('close', r))]);
  }
  child.stdin.end();
  const code = await closed;
  await reading;
  if (code !== 0) throw new EdpoError(`the judge "${program}" ended with exit code ${code}; ${questions.length - open.size} of ${questions.length} verdicts are kept`, { hint: 'run it by hand with one line {"id":"0","prompt":"…","a":"…","b":"…"}' });
  for (const id of open) each(id, 'invalid');
}
