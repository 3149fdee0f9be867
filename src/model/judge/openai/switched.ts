import { createHash } from 'node:crypto';

/** First 32-bit word of MT19937 seeded by a list of 32-bit words (Matsumoto and Nishimura 2002, init_by_array). */
function firstWord(key: number[]): number {
  const n = 624;
  const state = new Uint32Array(n);
  const mixed = (i: number): number => state[i - 1]! ^ (state[i - 1]! >>> 30);
  state[0] = 19650218;
  for (let i = 1; i < n; i++) state[i] = Math.imul(1812433253, mixed(i)) + i;
  let i = 1;
  const advance = (): void => {
    if (++i < n) return;
    state[0] = state[n - 1]!;
    i = 1;
  };
  for (let k = 0; k < Math.max(n, key.length); k++) {
    const j = k % key.length;
    state[i] = (state[i]! ^ Math.imul(mixed(i), 1664525)) + key[j]! + j;
    advance();
  }
  for (let k = 0; k < n - 1; k++) {
    state[i] = (state[i]! ^ Math.imul(mixed(i), 1566083941)) - i;
    advance();
  }
  state[0] = 0x80000000;
  const pair = (state[0]! & 0x80000000) | (state[1]! & 0x7fffffff);
  let word = state[397]! ^ (pair >>> 1) ^ (pair & 1 ? 0x9908b0df : 0);
  word ^= word >>> 11;
  word ^= (word << 7) & 0x9d2c5680;
  word ^= (word << 15) & 0xefc60000;
  return (word ^ (word >>> 18)) >>> 0;
}

/**
 * Whether CPython's `random.Random(seed).choices([False, True])` gives True for a text as the seed: the text's UTF-8 bytes and their SHA-512
 * form one big-endian number whose 32-bit words, lowest first, seed MT19937; the choice is the highest bit of its first word.
 */
export function pythonChoice(seed: string): boolean {
  const text = Buffer.from(seed, 'utf8');
  const bytes = Buffer.concat([text, createHash('sha512').update(text).digest()]);
  const words: number[] = [];
  for (let end = bytes.length; end > 0; end -= 4) words.push(bytes.subarray(Math.max(0, end - 4), end).reduce((value, byte) => value * 256 + byte, 0));
  while (words.length > 1 && words.at(-1) === 0) words.pop();
  return firstWord(words) >>> 31 === 1;
}

/**
 * AlpacaEval's position rule (alpaca_eval 0.6.2): output_1 and output_2 change places where the seeded choice over the instruction (not over
 * the outputs) says so. Its leaderboards use seed 0.
 */
export const switchedOutputs = (instruction: string, seed = 0): boolean => pythonChoice(`is_switched_outputs${instruction}${seed}`);
