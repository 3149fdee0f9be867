// Knows the right answer: reads {id, prompt, a, b} lines, finds the largest of the numbers in the prompt, and prints who named it.
import { createInterface } from 'node:readline';

for await (const line of createInterface({ input: process.stdin })) {
  const { id, prompt, a, b } = JSON.parse(line);
  const right = String(Math.max(...prompt.match(/\d+/g).map(Number)));
  const [first, second] = [a.trim() === right, b.trim() === right];
  console.log(JSON.stringify({ id, winner: first === second ? 'tie' : first ? 'a' : 'b' }));
}
