// A stand-in for a judge, for models too small to be judged: reads {id, prompt, a, b} lines and prefers the answer more of whose words are common
// English or the prompt's, then the one that repeats itself less. A real comparison takes a real judge (docs/judges.md).
import { createInterface } from 'node:readline';

const COMMON = new Set('the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or an will my one all would there their what so up out if about who get which go me when make can like time no just him know take people into year your good some could them see other than then now look only come its over think also back after use two how our work first well way even new want because any these give day most us was is are were had has did been very said little girl boy dog play big happy mom park'.split(' '));
const words = (text) => text.toLowerCase().match(/[a-z']+/g) ?? [];

function score(prompt, answer) {
  const list = words(answer);
  if (list.length === 0) return 0;
  const asked = new Set(words(prompt));
  const known = list.filter((w) => COMMON.has(w) || (w.length > 3 && asked.has(w))).length / list.length;
  return known + 0.2 * (new Set(list).size / list.length);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, prompt, a, b } = JSON.parse(line);
  const [x, y] = [score(prompt, a), score(prompt, b)];
  console.log(JSON.stringify({ id, winner: x === y ? 'tie' : x > y ? 'a' : 'b' }));
}
