import t from 'tap';
import { modelSpec } from '../../src/model/families/index.js';
import { testGpu } from '../helpers/gpu.js';
import { golden, parity, parityTable, type Parity } from '../helpers/parity.js';

const rows: Parity[] = [];
for (const name of Object.keys(golden.families)) {
  t.test(`${name}: tensors, logits, log-probs, gradients and greedy text as transformers has them, written and read again; packing changes no bit`, async (t) => {
    rows.push(await parity(await testGpu(), name, (ok, what) => void t.ok(ok, what)));
  });
}

t.test('the parity table', async (t) => {
  t.equal(rows.length, Object.keys(golden.families).length);
  for (const line of parityTable(rows)) t.comment(line);
});

t.test('options that edpo lacks are refused by name', async (t) => {
  const llama = golden.families['llama']!.config;
  for (const [over, message] of [
    [{ model_type: 'mamba' }, /model_type "mamba" is not one edpo knows; expected llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text, phi3, gpt_neox, gpt2, stablelm/],
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
    ['stablelm', { qk_layernorm: true }, /qk_layernorm: edpo has no LayerNorm of each head for this family, got true/],
    ['stablelm', { use_parallel_residual: true }, /use_parallel_residual: edpo has this family’s sequential blocks only/],
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
