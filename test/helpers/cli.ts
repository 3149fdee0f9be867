import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { writeSafetensors } from '../../src/model/files/safetensors.js';
import { joinStored, storedSpecs } from '../../src/model/files/stored.js';
import { rng } from './rng.js';
import { tinyConfig, tinySpec, tinyWeights } from './tiny_model.js';

const bin = resolve('bin/edpo.js');

export interface CliResult { code: number | null; out: string; err: string }

/** Runs the real command. `shell` puts something before it (ulimit). */
export function edpo(args: string[], o: { env?: Record<string, string>; shell?: string; cwd?: string } = {}): CliResult {
  const env = { ...process.env, ...o.env };
  const quoted = [process.execPath, bin, ...args].map((a) => `'${a}'`).join(' ');
  const r: SpawnSyncReturns<string> = o.shell
    ? spawnSync('bash', ['-c', `${o.shell}; exec ${quoted}`], { encoding: 'utf8', env, cwd: o.cwd })
    : spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', env, cwd: o.cwd, maxBuffer: 1 << 28 });
  return { code: r.status, out: r.stdout, err: r.stderr };
}

/** As `edpo`, beside this process: for commands that talk to a server of the test's own. @param kill kills it (SIGKILL) */
export function edpoBeside(args: string[], env: Record<string, string> = {}, kill?: AbortSignal): Promise<CliResult> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [bin, ...args], { env: { ...process.env, ...env } });
    let [out, err] = ['', ''];
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => (err += d.toString()));
    kill?.addEventListener('abort', () => child.kill('SIGKILL'), { once: true });
    child.on('close', (code) => done({ code, out, err }));
  });
}

/** Starts the command and kills it after `ms`, or once it has said `when` (on a busy machine a time says nothing of what it is at); resolves with its signal or code. */
export function edpoKilled(args: string[], when: number | RegExp, signal: NodeJS.Signals = 'SIGKILL'): Promise<{ code: number | null; signal: string | null; err: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [bin, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let err = '';
    let said = false;
    child.stderr.on('data', (d: Buffer) => {
      err += d.toString();
      if (said || typeof when === 'number' || !when.test(err)) return;
      said = true;
      child.kill(signal);
    });
    const timer = typeof when === 'number' ? setTimeout(() => child.kill(signal), when) : undefined;
    child.on('close', (code, sig) => {
      clearTimeout(timer);
      done({ code, signal: sig, err });
    });
  });
}

/** A seeded tiny model with a letters tokenizer, as a Hugging Face folder. */
export async function tinyFolder(dir: string, seed = 1, over: Record<string, unknown> = {}, edit?: (weights: Record<string, Float32Array>) => void): Promise<string> {
  mkdirSync(dir, { recursive: true });
  const spec = tinySpec(over);
  const weights = tinyWeights(spec, seed);
  edit?.(weights);
  await writeSafetensors(join(dir, 'model.safetensors'), storedSpecs(spec).map((p) => ({
    name: p.name, dtype: 'F32' as const, shape: p.shape,
    read: async (first: number, rows: number) => {
      const width = p.shape[1] ?? 1;
      return (await joinStored(spec, p.name, async (name) => weights[name]!)).subarray(first * width, (first + rows) * width);
    },
  })));
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...tinyConfig(over), bos_token_id: 0, eos_token_id: 1 }));
  const letters = [...'abcdefghijklmnopqrstuvwxyz:.?!'];
  const vocab = Object.fromEntries(['<s>', '</s>', 'Ġ', ...letters].map((c, i) => [c, i]));
  const special = (content: string, id: number) => ({ id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false });
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify({
    version: '1.0', truncation: null, padding: null, added_tokens: [special('<s>', 0), special('</s>', 1)], normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }, post_processor: null, decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', dropout: null, unk_token: null, vocab, merges: [] },
  }));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>', eos_token: '</s>', add_bos_token: true, tokenizer_class: 'GPT2Tokenizer' }));
  return dir;
}

/** Seeded preference pairs over lower-case letters. */
export function tinyPairs(path: string, n: number, seed = 1): string {
  const r = rng(seed);
  const word = (min: number, max: number): string => Array.from({ length: min + r.int(max - min) }, () => String.fromCharCode(97 + r.int(26))).join('');
  writeFileSync(path, Array.from({ length: n }, () => JSON.stringify({ prompt: `${word(2, 8)} ${word(1, 5)}:`, chosen: ` ${word(2, 9)}`, rejected: ` ${word(1, 12)}.` })).join('\n') + '\n');
  return path;
}
