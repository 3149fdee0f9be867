import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { table } from '../../bench/table.js';
import type { Gpu } from '../../src/gpu/device.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { modelSpec, type ModelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { ModelFolder, writeModelFolder } from '../../src/model/files/hf_folder.js';
import { writeSafetensors } from '../../src/model/files/safetensors.js';
import { joinStored, readStored, storedSpecs } from '../../src/model/files/stored.js';
import { Generator } from '../../src/model/generate/generator.js';
import type { Parameters } from '../../src/model/parameters.js';
import { Scorer } from '../../src/model/scorer.js';
import { loadWeights } from '../../src/model/session.js';
import { hiddenStates, logits as twinLogits } from '../reference/transformer.js';
import { loadParameters, makeEngine } from './engine.js';

interface Family { config: Record<string, unknown>; names: string[]; shapes: number[][]; logits: number[][]; greedy: number[][]; loss: number; gradients: Array<[number, number]> }
interface Pair { prompt: number[]; chosen: number[]; rejected: number[]; ref: [number, number] }
/** What transformers makes of a tiny model of each family (test/goldens/make_families.py). */
export const golden = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { beta: number; sequences: number[][]; pairs: Pair[]; families: Record<string, Family> };

/** How far a family is from transformers; `packed` is of the pairs' loss in prefix-shared form, `reload` of the logits of a checkpoint written and read again. */
export interface Parity { family: string; logits: number; logps: number; gradients: number; packed: number; reload: number }
export const ALLOWED: Omit<Parity, 'family'> = { logits: 1e-4, logps: 1e-4, gradients: 1e-3, packed: 1e-5, reload: 1e-4 };
export type Check = (ok: boolean, what: string) => void;

const wave = (size: number, n: number): Float64Array => Float64Array.from({ length: size }, (_, i) => Math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n));
const count = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);
/** The weights of test/goldens/make_families.py. */
const weightsOf = (name: string, family: Family): Record<string, Float32Array> =>
  Object.fromEntries(family.names.map((key, n) => {
    const shape = family.shapes[n]!;
    const gain = /(norm|ln_\w)\.weight$/.test(key) && !name.startsWith('gemma') ? 1 : 0;
    return [key, Float32Array.from(wave(count(shape), n), (v) => gain + (shape.length === 2 ? 0.4 : 0.1) * v)];
  }));
const headOf = (spec: ModelSpec): string => (spec.tied ? spec.names.embed : spec.names.head);
const same = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => a.length === b.length && Array.prototype.every.call(a, (v, i) => v === b[i]);

/** Log-probs and final states of whole sequences, their first token the prompt. */
async function score(policy: Parameters, sequences: number[][], rows: number): Promise<Array<{ logps: number[]; hidden: Float64Array[] }>> {
  const scorer = await new Scorer(policy.gpu, policy, { rows, sequences: 8 }, true).ready();
  const { logps, hidden } = await scorer.submit(sequences.map((s, id) => ({ id, prompt: s.slice(0, 1), branches: [s.slice(1)] })))();
  const D = policy.spec.D;
  let at = 0;
  return sequences.map((s) => {
    const n = s.length - 1;
    const part = { logps: [...logps.subarray(at, at + n)], hidden: Array.from({ length: n }, (_, i) => Float64Array.from(hidden!.subarray((at + i) * D, (at + i + 1) * D))) };
    at += n;
    return part;
  });
}

/** Largest differences of the last positions' logits, relative to the largest logit, and of the last labels' log-probs. */
function distance(spec: ModelSpec, head: Float32Array, family: Family, scores: Awaited<ReturnType<typeof score>>): { logits: number; logps: number } {
  let [worst, size, logps] = [0, 0, 0];
  golden.sequences.forEach((s, k) => {
    const shown = golden.sequences.slice(0, k).reduce((n, x) => n + Math.min(2, x.length), 0);
    const states = scores[k]!.hidden.slice(-Math.min(2, s.length));
    states.forEach((h, i) => {
      const got = twinLogits(spec, { [headOf(spec)]: head }, h);
      const want = family.logits[shown + i]!;
      want.forEach((v, j) => {
        worst = Math.max(worst, Math.abs(got[j]! - v));
        size = Math.max(size, Math.abs(v));
      });
      if (i < states.length - 1) return;
      const lse = Math.log(want.reduce((n, v) => n + Math.exp(v), 0));
      logps = Math.max(logps, Math.abs(scores[k]!.logps.at(-1)! - (want[3]! - lse)));
    });
  });
  return { logits: worst / size, logps };
}

/** Gradients of every tensor of the checkpoint, and the pairs' mean loss; both pairs in one prefix-shared micro-batch. */
async function gradients(gpu: Gpu, policy: Parameters, family: Family, gradientCheckpointing: boolean): Promise<{ loss: number; list: Float64Array[] }> {
  const documents = golden.pairs.map((p, id) => ({ id, prompt: p.prompt, branches: [p.chosen, p.rejected] }));
  // The reference's sums at each response's first token.
  const logps = Float32Array.from(golden.pairs.flatMap((p) => [p.chosen, p.rejected].flatMap((r, side) => r.map((_, i) => (i === 0 ? p.ref[side]! : 0)))));
  const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'cache', rounded: false }, { rows: 64, gradientCheckpointing, over: { beta: golden.beta }, tile: 16 });
  const { table: pairs } = await engine.microBatch(documents, { logps }, 1 / documents.length, true)();
  const loss = documents.reduce((n, _, i) => n + pairs[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf('loss')]! / documents.length, 0);
  const list: Float64Array[] = [];
  for (const key of family.names) list.push(Float64Array.from(await joinStored(policy.spec, key, (own) => policy.read(own, 'grad'))));
  for (const { moments } of policy.pieces) moments!.grad.write(new Float32Array(moments!.grad.elements));
  return { loss, list };
}

/** Writes the model from the GPU in several shards with their index, and reads it onto the GPU again. */
async function reloaded(gpu: Gpu, policy: Parameters, family: Family, files: Record<string, Float32Array>): Promise<Parameters> {
  const dir = mkdtempSync(join(tmpdir(), 'edpo-parity-'));
  try {
    const [base, copy] = [join(dir, 'base'), join(dir, 'copy')] as const;
    for (const d of [base, copy]) mkdirSync(d);
    writeFileSync(join(base, 'config.json'), JSON.stringify(family.config));
    await writeSafetensors(join(base, 'model.safetensors'), family.names.map((name, n) => {
      const width = count(family.shapes[n]!.slice(1));
      return { name, shape: family.shapes[n]!, dtype: 'F32' as const, read: (first, rows) => files[name]!.subarray(first * width, (first + rows) * width) };
    }));
    await writeModelFolder(copy, { base: ModelFolder.open(base), dtype: 'float32', read: (name) => policy.read(name), maxShardBytes: 16_000 });
    readFileSync(join(copy, 'model.safetensors.index.json'));
    const folder = ModelFolder.open(copy);
    const again = await loadWeights(gpu, folder, 'reloaded');
    folder.close();
    return again;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Compares one family with transformers: names, logits, log-probs, gradients of every tensor, greedy text; `check` hears of everything that must hold. */
export async function parity(gpu: Gpu, name: string, check: Check): Promise<Parity> {
  const family = golden.families[name]!;
  const spec = modelSpec(family.config, name);
  const stored = storedSpecs(spec).map((p) => `${p.name} [${p.shape.join()}]`).sort();
  check(stored.join() === family.names.map((n, i) => `${n} [${family.shapes[i]!.join()}]`).sort().join(), 'names and shapes');
  const files = weightsOf(name, family);
  const weights = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, readStored(spec, p, (q, first = 0, rows = q.shape[0]!) => {
    const width = q.shape[1] ?? 1;
    return files[q.name]!.slice(first * width, (first + rows) * width);
  })]));
  for (const key of family.names) check(same(await joinStored(spec, key, async (own) => weights[own]!), files[key]!), `${key}: joined again`);
  const policy = await loadParameters(gpu, spec, weights, true);

  // A state predicts the next label, so every sequence gets one label more than the logits compared.
  const sequences = golden.sequences.map((s) => [...s, 3]);
  const packed = await score(policy, sequences, 64);
  const { logits, logps } = distance(spec, weights[headOf(spec)]!, family, packed);
  golden.sequences.forEach((s, k) => {
    const alone = hiddenStates(spec, weights, s).at(-1)!;
    check(alone.every((v, d) => Math.abs(v - packed[k]!.hidden.at(-1)![d]!) < 1e-4), `sequence ${k}: the f64 twin agrees`);
  });
  for (const [k, s] of sequences.entries()) check(same((await score(policy, [s], 32))[0]!.logps, packed[k]!.logps), `sequence ${k}, alone and at another budget: the same bits`);

  const kept = await gradients(gpu, policy, family, false);
  let worst = 0;
  kept.list.forEach((g, n) => {
    const [norm, projection] = family.gradients[n]!;
    const direction = wave(g.length, n + 100);
    const got = [Math.hypot(...g), g.reduce((s, v, i) => s + v * direction[i]!, 0)];
    // A key bias shifts all scores of a row alike: its gradient is 0 but for rounding.
    const error = Math.max(Math.abs(got[0]! - norm), Math.abs(got[1]! - projection) / Math.sqrt(g.length)) / Math.max(norm, 1e-3);
    worst = Math.max(worst, error);
    check(error < ALLOWED.gradients, `${family.names[n]}: norm ${got[0]} against ${norm}, product ${got[1]} against ${projection}`);
  });
  const again = await gradients(gpu, policy, family, true);
  again.list.forEach((g, n) => check(same(g, kept.list[n]!), `${family.names[n]}: activation checkpointing changes no bit`));

  const generator = await new Generator(gpu, policy, 2, 40, 48).ready();
  const greedy: number[][] = [];
  await generator.run(golden.sequences.map((prompt, index) => ({ index, prompt })), { temperature: 0, topP: 1, topK: 0, seed: 0, maxNewTokens: 14, stopIds: new Set() }, (g) => (greedy[g.index] = g.ids));
  check(JSON.stringify(greedy) === JSON.stringify(family.greedy), 'greedy text, with the KV cache');

  const read = await reloaded(gpu, policy, family, files);
  const back = distance(spec, await read.read(headOf(spec)), family, await score(read, sequences, 64));
  check(Math.abs(kept.loss - family.loss) < 1e-5, `loss ${kept.loss} against ${family.loss}`);
  const row = { family: name, logits, logps, gradients: worst, packed: Math.abs(kept.loss / family.loss - 1), reload: back.logits };
  for (const key of Object.keys(ALLOWED) as Array<keyof typeof ALLOWED>) check(row[key] < ALLOWED[key], `${key} off by ${row[key]}, allowed ${ALLOWED[key]}`);
  return row;
}

/** The table's lines, what is allowed last. */
export function parityTable(rows: Parity[]): string[] {
  const heads = { family: 'family', logits: 'logits, relative', logps: 'log-probs', gradients: 'gradients, of each norm', packed: 'packed pairs’ loss', reload: 'logits, saved and read' };
  const all: Array<Record<keyof Parity, string>> = [...rows, { family: 'allowed', ...ALLOWED }].map((r) => Object.fromEntries(Object.entries(r).map(([k, v]) => [k, typeof v === 'number' ? v.toExponential(1) : v])) as Record<keyof Parity, string>);
  return table((Object.keys(heads) as Array<keyof Parity>).map((key) => ({ head: heads[key], cell: (r: (typeof all)[number]) => r[key] })), all).trimEnd().split('\n');
}
