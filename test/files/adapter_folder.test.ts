import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { AdapterFolder } from '../../src/model/files/adapter_folder.js';
import { writeAdapterFolder } from '../../src/model/files/adapter_writer.js';
import { ModelFolder } from '../../src/model/files/hf_folder.js';
import { SafetensorsFile, writeSafetensors } from '../../src/model/files/safetensors.js';
import { loraTargets, savedTensors } from '../../src/model/lora.js';
import { hiddenStates, logits } from '../reference/transformer.js';

interface Case { config: Record<string, unknown>; names: string[]; shapes: number[][]; adapter_config: Record<string, unknown>; tensors: Record<string, number[]>; logits: number[][] }
const golden = JSON.parse(readFileSync('test/goldens/lora.json', 'utf8')) as { sequences: number[][]; cases: Record<string, Case> };
const wave = (size: number, n: number): Float64Array => Float64Array.from({ length: size }, (_, i) => Math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n));
const dir = mkdtempSync(join(tmpdir(), 'edpo-adapter-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

const write = (path: string, tensors: Array<[string, number[], Float32Array]>): Promise<void> =>
  writeSafetensors(path, tensors.map(([name, shape, values]) => ({ name, shape, dtype: 'F32' as const, read: (first, rows) => { const width = shape[1] ?? 1; return values.subarray(first * width, (first + rows) * width); } })));

for (const [name, c] of Object.entries(golden.cases)) {
  t.test(`${name}: a folder as PEFT writes it, read and written again`, async (t) => {
    const [base, adapter, again] = ['base', 'adapter', 'again'].map((f) => join(dir, name, f)) as [string, string, string];
    for (const f of [base, adapter, again]) mkdirSync(f, { recursive: true });
    writeFileSync(join(base, 'config.json'), JSON.stringify(c.config));
    await write(join(base, 'model.safetensors'), c.names.map((key, n) => {
      const shape = c.shapes[n]!;
      const gain = /(norm|ln_\w)\.weight$/.test(key) && !name.startsWith('gemma') ? 1 : 0;
      return [key, shape, Float32Array.from(wave(shape.reduce((a, b) => a * b, 1), n), (v) => gain + (shape.length === 2 ? 0.4 : 0.1) * v)];
    }));
    writeFileSync(join(adapter, 'adapter_config.json'), JSON.stringify(c.adapter_config));
    const values = new Map(Object.entries(c.tensors).map(([key, shape], n) => [key, Float32Array.from(wave(shape.reduce((a, b) => a * b, 1), n + 200), (v) => 0.3 * v + (/(norm|ln_\w)\.weight$/.test(key) ? 1 : 0))]));
    await write(join(adapter, 'adapter_model.safetensors'), Object.entries(c.tensors).map(([key, shape]) => [key, shape, values.get(key)!]));

    const model = ModelFolder.open(base).withAdapter(AdapterFolder.open(adapter));
    const { spec } = model;
    const weights = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, model.readF32(p)]));
    golden.sequences.forEach((s, k) => {
      const got = logits(spec, weights, hiddenStates(spec, weights, s).at(-1)!);
      const off = Math.max(...got.map((v, i) => Math.abs(v - c.logits[k]![i]!)));
      t.ok(off < 1e-5 * Math.max(...c.logits[k]!.map(Math.abs)), `logits of the merged weights off by ${off}`);
    });
    t.not(model.weightsHash(), model.base.weightsHash());
    // The last of them: an adapter's or one trained in full.
    const q = parameterSpecs(spec).findLast((p) => p.shape.length === 2 && model.readF32(p).some((v, i) => v !== model.base.readF32(p)[i]))!;
    t.same([...model.readF32(q, 3, 2)], [...model.readF32(q).subarray(3 * q.shape[1]!, 5 * q.shape[1]!)], 'some rows are those of the whole');
    t.same([...model.base.readF32(q)], [...ModelFolder.open(base).readF32(q)], 'the base stays what it is');

    await writeAdapterFolder(again, { model, baseName: { name: 'org/base', revision: 'v2' }, settings: model.adapter!.settings, dropout: 0, dtype: 'auto', read: async (key) => values.get(key)! });
    const [ours, theirs] = [again, adapter].map((f) => SafetensorsFile.open(join(f, 'adapter_model.safetensors'))) as [SafetensorsFile, SafetensorsFile];
    t.same([...ours.tensors.entries()].map(([k, e]) => [k, e.dtype, e.shape]), [...theirs.tensors.entries()].map(([k, e]) => [k, e.dtype, e.shape]), 'names, order and shapes are PEFT’s');
    for (const key of ours.tensors.keys()) t.same([...ours.readF32(key)], [...theirs.readF32(key)], key);
    const config = JSON.parse(readFileSync(join(again, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
    for (const [key, value] of Object.entries(config)) {
      if (key === 'base_model_name_or_path') t.equal(value, 'org/base');
      else if (key === 'revision') t.equal(value, 'v2');
      // PEFT writes all-linear as whole paths or as last parts, by what else the model has: the same matrices.
      else if (key === 'target_modules') t.same(loraTargets(spec, value as string[]), loraTargets(spec, c.adapter_config[key] as string[]), key);
      else if (key === 'modules_to_save' && value !== null) t.same(savedTensors(spec, value as string[], []), savedTensors(spec, c.adapter_config[key] as string[], []), key);
      else t.same(value, c.adapter_config[key], `adapter_config.json: ${key}`);
    }
    const read = ModelFolder.open(base).withAdapter(AdapterFolder.open(again));
    t.same(read.adapter!.settings, model.adapter!.settings);
    t.same(read.adapter!.folder.base, { name: 'org/base', revision: 'v2' });
    t.ok(read.adapter!.folder.recordsHash);

    const refused = (change: Record<string, unknown>, message: RegExp): void => {
      writeFileSync(join(again, 'adapter_config.json'), JSON.stringify({ ...config, ...change }));
      t.throws(() => ModelFolder.open(base).withAdapter(AdapterFolder.open(again)), { message, exitCode: 2 });
    };
    refused({ use_dora: true, rank_pattern: { q_proj: 2 }, modules_to_save: 'lm_head', bias: 'all' }, /use_dora: not available, got true\n +rank_pattern: not available, got \{"q_proj":2\}\n +bias: .*\n +modules_to_save: expected a list of names, got "lm_head"/);
    refused({ peft_type: 'IA3' }, /peft_type: expected "LORA", got "IA3"/);
    refused({ init_lora_weights: 'pissa_niter_4' }, /init_lora_weights: a changed base is not available, got "pissa_niter_4"/);
    refused({ r: 0, lora_alpha: 'x' }, /r: expected a whole number above 0, got 0\n +lora_alpha: expected a number above 0, got "x"/);
    refused({ r: 7 }, /does not fit .*base \(it was trained on org\/base\)\n.*lora_A.weight: expected \[7, \d+\], got \[[345], \d+\]/);
  });
}
