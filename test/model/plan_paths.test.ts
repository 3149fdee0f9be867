import t from 'tap';
import { loadConfig } from '../../src/config/load.js';
import type { RunConfig } from '../../src/config/keys.js';
import type { Gpu } from '../../src/gpu/device.js';
import { splitRoomBytes } from '../../src/gpu/ops/split_sum.js';
import { FUSED_PATHS, type FusedPath } from '../../src/gpu/paths.js';
import { sequenceCapacity } from '../../src/model/batch/pack.js';
import { Engine } from '../../src/model/engine.js';
import { modelSpec } from '../../src/model/families/index.js';
import { parameterSpecs, type ModelSpec } from '../../src/model/families/spec.js';
import { Adapters } from '../../src/model/lora.js';
import { adaptersOf, dropoutOf, loraSettings } from '../../src/model/lora_run.js';
import { trainingMemory, USUAL_TILE } from '../../src/model/memory_advice.js';
import { optimisers } from '../../src/model/optim/index.js';
import { optimiserSettings } from '../../src/model/optim/settings.js';
import { Parameters } from '../../src/model/parameters.js';
import { lossOf } from '../../src/model/session.js';
import { frozenStorage, trainedStorage } from '../../src/model/storage.js';
import { settings } from '../helpers/engine.js';
import { nullGpu } from '../helpers/gpu.js';
import { PUBLISHED } from './published_configs.js';

/**
 * The plan is of a GPU: wide tiles of the head, tiled products, matrices of 16 x 16 x 16. Dawn's null backend stands for one here, without kernels: programs are recorded and
 * allocate what they would there.
 */
async function hardware(mixed: boolean): Promise<Gpu> {
  const gpu = await nullGpu();
  for (const make of ['createBindGroup', 'createBindGroupLayout', 'createPipelineLayout', 'createShaderModule']) Object.defineProperty(gpu.device, make, { value: () => ({}) });
  Object.defineProperty(gpu.device, 'createComputePipelineAsync', { value: () => Promise.resolve({}) });
  return Object.assign(gpu, { kind: 'hardware' }, mixed ? { mixed: USUAL_TILE } : {});
}

const SMALL = { hidden_size: 64, intermediate_size: 160, head_dim: 16, num_attention_heads: 4, num_key_value_heads: 2, num_hidden_layers: 2, vocab_size: 1200 };
/** Wide enough for its head to be made in two tiles at 8,192 rows. */
const WIDE = { ...SMALL, vocab_size: 2500, num_hidden_layers: 1, intermediate_size: 64 };

interface Case { model?: string; of?: Record<string, unknown>; flags?: Record<string, string>; rows?: number }
const CASES: Record<string, Case> = {
  'in full, f32': { rows: 1536 },
  'in full, f32, two tiles of the head kept': { of: WIDE, rows: 8192, flags: { head_tiles: 'kept' } },
  'in full, mixed': { rows: 1536, flags: { dtype: 'mixed_f16' } },
  'in full, mixed, two tiles of the head kept': { of: WIDE, rows: 8192, flags: { dtype: 'mixed_f16', head_tiles: 'kept' } },
  'in full, mixed, post-norms, a live reference': { model: 'google/gemma-2-2b-it', flags: { dtype: 'mixed_f16', ref_mode: 'live', gradient_checkpointing: 'true' } },
  'in full, mixed, a gradient through KL': { flags: { dtype: 'mixed_f16', loss_type: 'tdpo2', ref_mode: 'live' } },
  ...Object.fromEntries(['float32', 'mixed_f16'].flatMap((dtype) => ['false', 'true'].map((use_peft): [string, Case] => [`log-probs alone of a live reference, ${dtype}${use_peft === 'true' ? ', LoRA' : ''}`, { flags: { dtype, use_peft, loss_type: 'sigmoid', ref_mode: 'live', base_dtype: 'float32' } }]))),
  '8-bit AdamW': { flags: { optim: 'adamw_8bit' } },
  'LoRA, f32': { rows: 1536, flags: { use_peft: 'true', base_dtype: 'float32' } },
  'QLoRA, mixed': { rows: 256, flags: { use_peft: 'true', dtype: 'mixed_f16', load_in_4bit: 'true', base_dtype: 'float16' } },
  'LoRA, mixed, an MLP no wider than a rank is padded to': { of: { ...SMALL, hidden_size: 192, intermediate_size: 100 }, flags: { use_peft: 'true', dtype: 'mixed_f16', base_dtype: 'float16', lora_r: '1' } },
  'LoRA, mixed, more dropout than matrices have room for': { flags: { use_peft: 'true', dtype: 'mixed_f16', base_dtype: 'float16', lora_dropout: '0.8', disable_dropout: 'false' } },
  'QLoRA, mixed, more rows': { rows: 1536, flags: { use_peft: 'true', dtype: 'mixed_f16', load_in_4bit: 'true', base_dtype: 'float16', lora_target_modules: 'q_proj,v_proj' } },
  ...Object.fromEntries(['cache', 'live'].flatMap((ref_mode) => ['float32', 'float16'].map((base_dtype): [string, Case] =>
    [`LoRA, mixed, the head trained in full, base in ${base_dtype}, reference ${ref_mode}`, { rows: 1536, of: { ...SMALL, vocab_size: 6000 }, flags: { use_peft: 'true', dtype: 'mixed_f16', lora_modules_to_save: 'lm_head', lora_target_modules: 'down_proj', base_dtype, ref_mode } }]))),
  'LoRA, mixed, a matrix and the head trained in full, log-probs from a cache': { rows: 1536, of: { ...SMALL, vocab_size: 6000 }, flags: { use_peft: 'true', dtype: 'mixed_f16', loss_type: 'sigmoid', lora_modules_to_save: 'lm_head,up_proj', lora_target_modules: 'down_proj', base_dtype: 'float32' } },
};

const config = (flags: Record<string, string>): RunConfig => loadConfig({ file: undefined, flags: { model_name_or_path: 'x', loss_type: 'epsilon_dpo', lora_target_modules: 'all-linear', ...flags }, env: {}, command: 'plan' }).config;

/** Records what a run with these keys records; returns what that allocated, but for the device's room for sums of ranges. */
function allocated(gpu: Gpu, spec: ModelSpec, c: RunConfig, rows: number): number {
  const apart = (): number => gpu.bytesNow - splitRoomBytes(gpu);
  const before = apart();
  const known = new Set(gpu.buffers);
  const loss = lossOf(c);
  const storage = frozenStorage(c, { spec, formatOf: () => spec.storedFormat ?? 'F32' });
  const policy = new Parameters(gpu, spec, !c.use_peft, 'policy', undefined, c.use_peft ? storage : trainedStorage(c));
  const head = spec.tied ? spec.names.embed : spec.names.head;
  const live = c.ref_mode === 'live';
  const hidden = live || loss.needs.reference === 'hidden';
  const reference = c.use_peft ? policy : hidden ? new Parameters(gpu, spec, false, 'reference', parameterSpecs(spec).filter((p) => live || p.name === head), storage) : undefined;
  const trained = c.use_peft ? policy.with(new Adapters(gpu, spec, loraSettings(spec, c), true, dropoutOf(c))) : policy;
  new Engine({
    gpu, policy: trained, loss, settings: settings(), training: true, capacity: { rows, sequences: sequenceCapacity(rows) }, gradientCheckpointing: c.gradient_checkpointing, optimiser: optimisers[c.optim], optimiserSettings: optimiserSettings(c),
    reference: live ? { kind: 'live', parameters: reference! } : { kind: 'cache', ...(hidden ? { head: reference! } : {}), rounded: false }, ...(c.head_tiles === 'auto' ? {} : { headTiles: c.head_tiles }),
  });
  const got = apart() - before;
  for (const buffer of gpu.buffers) if (!known.has(buffer) && !/^sums of ranges/.test(buffer.label)) gpu.destroyBuffer(buffer);
  return got;
}

for (const [name, { model = 'meta-llama/Meta-Llama-3-8B-Instruct', of = SMALL, flags = {}, rows = 640 }] of Object.entries(CASES)) {
  t.test(`${name}: the plan is what is allocated, and moves as that does with every path`, async (t) => {
    const c = config(flags);
    const gpu = await hardware(c.dtype === 'mixed_f16');
    t.teardown(() => gpu.close());
    const spec = modelSpec({ ...PUBLISHED[model]!.config, ...of }, model);
    const plan = () => trainingMemory(spec, lossOf(c), c, adaptersOf(spec, c), rows, undefined, gpu);
    const apart = (m: ReturnType<typeof plan>): number => m.total - (m.parts['sums of ranges'] ?? 0);
    const [planned, got] = [plan(), allocated(gpu, spec, c, rows)];
    t.comment(`allocated ${((100 * got) / apart(planned)).toFixed(2)} % of the plan`);
    t.ok(got / apart(planned) > 0.9995 && got / apart(planned) < 1.008, `planned ${apart(planned)}, allocated ${got}`);
    t.equal(planned.parts['sums of ranges'] ?? 0, splitRoomBytes(gpu), 'room for sums of ranges');
    const moved: string[] = [];
    for (const path of Object.keys(FUSED_PATHS) as FusedPath[]) {
      gpu.without = new Set([path]);
      const [less, other] = [plan(), allocated(gpu, spec, c, rows)];
      const [want, seen] = [other - got, apart(less) - apart(planned)];
      if (want !== 0) moved.push(path);
      // Each buffer is rounded up to 16 bytes, and those of an arena were one.
      t.ok(Math.abs(want - seen) < 4096, `without ${path}: allocated ${want} more, planned ${seen}`);
      if (path === 'split_sums') t.equal(less.parts['sums of ranges'], undefined);
      gpu.without = new Set();
    }
    t.comment(`allocate otherwise: ${moved.join(', ')}`);
    gpu.check();
  });
}
