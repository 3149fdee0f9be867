import { readFileSync } from 'node:fs';
import t from 'tap';
import { table } from '../../bench/table.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { modelSpec, type ModelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { joinStored, readStored, storedSpecs } from '../../src/model/files/stored.js';
import { Generator } from '../../src/model/generate/generator.js';
import type { Parameters } from '../../src/model/parameters.js';
import { Scorer } from '../../src/model/scorer.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { hiddenStates, logits as twinLogits } from '../reference/transformer.js';

interface Family { config: Record<string, unknown>; names: string[]; shapes: number[][]; logits: number[][]; greedy: number[][]; loss: number; gradients: Array<[number, number]> }
interface Pair { prompt: number[]; chosen: number[]; rejected: number[]; ref: [number, number] }
const golden = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { beta: number; sequences: number[][]; pairs: Pair[]; families: Record<string, Family> };

const wave = (size: number, n: number): Float64Array => Float64Array.from({ length: size }, (_, i) => Math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n));
/** The weights of test/goldens/make_families.py. */
const weightsOf = (name: string, family: Family): Record<string, Float32Array> =>
  Object.fromEntries(family.names.map((key, n) => {
    const shape = family.shapes[n]!;
    const gain = /(norm|ln_\w)\.weight$/.test(key) && !name.startsWith('gemma') ? 1 : 0;
    return [key, Float32Array.from(wave(shape.reduce((a, b) => a * b, 1), n), (v) => gain + (shape.length === 2 ? 0.4 : 0.1) * v)];
  }));
const headOf = (spec: ModelSpec): string => (spec.tied ? spec.names.embed : spec.names.head);

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

const rows: Array<Record<string, string | number>> = [];
for (const [name, family] of Object.entries(golden.families)) {
  t.test(`${name}: tensors, logits, log-probs, gradients and greedy text as transformers has them; packing changes no bit`, async (t) => {
    const gpu = await testGpu();
    const spec = modelSpec(family.config, name);
    t.same(storedSpecs(spec).map((p) => [p.name, p.shape]).sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1)), family.names.map((n, i) => [n, family.shapes[i]]), 'names and shapes');
    const files = weightsOf(name, family);
    const weights = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, readStored(spec, p, (q, first = 0, rows = q.shape[0]!) => {
      const width = q.shape[1] ?? 1;
      return files[q.name]!.slice(first * width, (first + rows) * width);
    })]));
    for (const key of family.names) t.same(await joinStored(spec, key, async (own) => weights[own]!), files[key], `${key}: joined again`);
    const policy = await loadParameters(gpu, spec, weights, true);

    // A state predicts the next label, so every sequence gets one label more than the logits compared.
    const sequences = golden.sequences.map((s) => [...s, 3]);
    const packed = await score(policy, sequences, 64);
    let [worst, size, worstLogp] = [0, 0, 0];
    golden.sequences.forEach((s, k) => {
      const shown = golden.sequences.slice(0, k).reduce((n, x) => n + Math.min(2, x.length), 0);
      const states = packed[k]!.hidden.slice(-Math.min(2, s.length));
      states.forEach((h, i) => {
        const got = twinLogits(spec, { [headOf(spec)]: weights[headOf(spec)]! }, h);
        const want = family.logits[shown + i]!;
        want.forEach((v, j) => {
          worst = Math.max(worst, Math.abs(got[j]! - v));
          size = Math.max(size, Math.abs(v));
        });
        if (i < states.length - 1) return;
        const lse = Math.log(want.reduce((n, v) => n + Math.exp(v), 0));
        worstLogp = Math.max(worstLogp, Math.abs(packed[k]!.logps.at(-1)! - (want[3]! - lse)));
      });
      const alone = hiddenStates(spec, weights, s).at(-1)!;
      t.ok(alone.every((v, d) => Math.abs(v - states.at(-1)![d]!) < 1e-4), 'the f64 twin agrees');
    });
    t.ok(worst / size < 1e-4, `logits off by ${worst / size} relative`);
    t.ok(worstLogp < 1e-4, `log-probs off by ${worstLogp}`);
    for (const [k, s] of sequences.entries()) t.same((await score(policy, [s], 32))[0]!.logps, packed[k]!.logps, 'alone, and at another budget: the same bits');

    const documents = golden.pairs.map((p, id) => ({ id, prompt: p.prompt, branches: [p.chosen, p.rejected] }));
    // The reference's sums at each response's first token.
    const logps = Float32Array.from(golden.pairs.flatMap((p) => [p.chosen, p.rejected].flatMap((r, side) => r.map((_, i) => (i === 0 ? p.ref[side]! : 0)))));
    const gradients = async (checkpointing: boolean): Promise<Float64Array[]> => {
      const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'cache', rounded: false }, { rows: 64, gradientCheckpointing: checkpointing, over: { beta: golden.beta }, tile: 16 });
      const { table: pairs } = await engine.microBatch(documents, { logps }, 1 / documents.length, true)();
      const loss = documents.reduce((n, _, i) => n + pairs[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf('loss')]! / documents.length, 0);
      t.ok(Math.abs(loss - family.loss) < 1e-5, `loss ${loss} against ${family.loss}`);
      const list: Float64Array[] = [];
      for (const key of family.names) list.push(Float64Array.from(await joinStored(spec, key, (own) => policy.read(own, 'grad'))));
      for (const { moments } of policy.pieces) moments!.grad.write(new Float32Array(moments!.grad.elements));
      return list;
    };
    const kept = await gradients(false);
    let worstGradient = 0;
    kept.forEach((g, n) => {
      const [norm, projection] = family.gradients[n]!;
      const direction = wave(g.length, n + 100);
      const got = [Math.hypot(...g), g.reduce((s, v, i) => s + v * direction[i]!, 0)];
      // A key bias shifts all scores of a row alike: its gradient is 0 but for rounding.
      const scale = Math.max(norm, 1e-3);
      const error = Math.max(Math.abs(got[0]! - norm), Math.abs(got[1]! - projection) / Math.sqrt(g.length)) / scale;
      worstGradient = Math.max(worstGradient, error);
      t.ok(error < 1e-3, `${family.names[n]}: norm ${got[0]} against ${norm}, product ${got[1]} against ${projection}`);
    });
    (await gradients(true)).forEach((g, n) => t.same([...g], [...kept[n]!], `${family.names[n]}: activation checkpointing changes no bit`));

    const generator = await new Generator(gpu, policy, 2, 40, 48).ready();
    const greedy: number[][] = [];
    await generator.run(golden.sequences.map((prompt, index) => ({ index, prompt })), { temperature: 0, topP: 1, topK: 0, seed: 0, maxNewTokens: 14, stopIds: new Set() }, (g) => (greedy[g.index] = g.ids));
    t.same(greedy, family.greedy, 'greedy text, with the KV cache');
    rows.push({ family: name, logits: worst / size, logps: worstLogp, gradients: worstGradient });
  });
}

t.test('the parity table', async (t) => {
  t.equal(rows.length, Object.keys(golden.families).length);
  const column = (key: string) => ({ head: key, cell: (r: (typeof rows)[number]) => (key === 'family' ? String(r[key]) : (r[key] as number).toExponential(1)) });
  for (const line of table(['family', 'logits', 'logps', 'gradients'].map(column), rows).trimEnd().split('\n')) t.comment(line);
  t.comment('allowed: logits 1e-4 relative, log-probs 1e-4, gradients 1e-3 of each tensor’s norm');
});

t.test('options that edpo lacks are refused by name', async (t) => {
  const llama = golden.families['llama']!.config;
  for (const [over, message] of [
    [{ model_type: 'mamba' }, /model_type "mamba" is not one edpo knows; expected llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text, phi3, gpt_neox, gpt2/],
    [{ hidden_act: 'relu' }, /hidden_act: edpo offers "silu" here, got "relu"/],
    [{ attention_bias: true }, /attention_bias: edpo has no attention biases/],
    [{ rope_parameters: { rope_type: 'yarn', factor: 2 } }, /rope_scaling of type "yarn" is not one edpo has; it has default, linear, dynamic, llama3, longrope/],
    [{ rope_parameters: { rope_type: 'linear' } }, /rope_scaling: factor is null/],
    [{ rope_parameters: null, rope_scaling: { type: 'longrope', short_factor: [1, 2], long_factor: [1, 2, 3] } }, /rope_scaling: long_factor is \[1,2,3\]; a list of 2 numbers above 0/],
    [{ rope_parameters: null, rope_scaling: { type: 'proportional' } }, /type "proportional"/],
  ] as const) t.throws(() => modelSpec({ ...llama, ...over }, 'config.json'), { message, exitCode: 2 });
  t.same(modelSpec({ ...llama, rope_parameters: undefined, rope_theta: 500, rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 }, head_dim: 12 }, 'x').block.position,
    modelSpec(golden.families['llama-3.1']!.config, 'y').block.position, 'the older keys say the same');
  const { config: neox } = golden.families['gpt-neox']!;
  for (const [base, over, message] of [
    ['gpt-neox', { attention_bias: false }, /attention_bias: edpo has GPT-NeoX with attention biases only, got false/],
    ['gpt-neox', { hidden_act: 'relu' }, /hidden_act: edpo offers "gelu" or "gelu_new" or .* here, got "relu"/],
    ['gpt-neox', { rope_parameters: { partial_rotary_factor: 0.4 } }, /RoPE turns 3 of a head's 8; an even number from 2 to 8/],
    ['gpt2', { scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx: edpo scales the scores of all layers alike/],
    ['gpt2', { add_cross_attention: true }, /add_cross_attention: edpo has decoders without cross-attention only/],
    ['phi3', { rope_parameters: { rope_type: 'longrope', short_factor: [1, 2] } }, /rope_scaling: long_factor is null; a list of 2 numbers/],
    ['gemma3', { use_bidirectional_attention: true }, /use_bidirectional_attention: edpo has causal attention only/],
    ['gemma3', { rope_parameters: { full_attention: { rope_type: 'dynamic', factor: 2 } } }, /no dynamic RoPE for this family/],
  ] as const) t.throws(() => modelSpec({ ...golden.families[base]!.config, ...over }, 'config.json'), { message, exitCode: 2 });

  t.same(modelSpec({ ...neox, rope_parameters: undefined, rotary_pct: 0.5, rotary_emb_base: 10000 }, 'pythia').block.position, modelSpec(neox, 'y').block.position, 'GPT-NeoX by its older keys');
  const { config: gemma } = golden.families['gemma3']!;
  t.same(modelSpec({ ...gemma, layer_types: undefined, rope_parameters: undefined, sliding_window_pattern: 3, rope_theta: 2000, rope_local_base_freq: 100, rope_scaling: { rope_type: 'linear', factor: 8 } }, 'x').block,
    modelSpec(gemma, 'y').block, 'Gemma 3 by its older keys');
  const { config: phi } = golden.families['phi3']!;
  const { short_factor, long_factor } = phi['rope_parameters'] as Record<string, number[]>;
  const older = { ...phi, rope_parameters: undefined, rope_theta: 1000, rope_scaling: { type: 'su', short_factor, long_factor } };
  t.same(modelSpec(older, 'x').block.position, modelSpec(phi, 'y').block.position, 'Phi-3 by its older keys');
  // √(1 + ln(64/11)/ln 11) by hand.
  t.ok(Math.abs(modelSpec(phi, 'y').block.position.rotary[0]!.scale - 1.316962) < 1e-6, `scale ${modelSpec(phi, 'y').block.position.rotary[0]!.scale}`);
  t.equal(modelSpec({ ...phi, rope_parameters: { ...(phi['rope_parameters'] as object), attention_factor: 1.5 } }, 'y').block.position.rotary[0]!.scale, 1.5);
});
