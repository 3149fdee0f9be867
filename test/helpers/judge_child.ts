// Asks the endpoint of OPENAI_BASE_URL about `argv[3]` questions with the cache argv[2]; a verdict a line on stdout, notes and errors on stderr.
import { askOpenAI } from '../../src/model/judge/openai/judge.js';

const [, , cache, count] = process.argv as [string, string, string, string];
const questions = Array.from({ length: Number(count) }, (_, i) => ({ id: `${i}`, prompt: `request ${i}`, a: 'a'.repeat(2 + (i % 5)), b: 'b'.repeat(1 + (i % 7)) }));
try {
  const totals = await askOpenAI({ model: 'judge-1', protocol: 'arena-hard', cache, concurrency: 3, note: (text) => console.error(text) }, questions, (id, verdict, detail) => console.log(JSON.stringify({ id, verdict, ...detail })));
  console.error(JSON.stringify(totals));
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
