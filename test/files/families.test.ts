import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { modelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { ModelFolder, writeModelFolder } from '../../src/model/files/hf_folder.js';
import { writeSafetensors, type TensorSource } from '../../src/model/files/safetensors.js';
import { storedSpecs, withoutPrefix } from '../../src/model/files/stored.js';
import { normals } from '../helpers/rng.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-families-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const { families } = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { families: Record<string, { config: Record<string, unknown> }> };

/** A folder with these tensors, normal values, each of its own. */
async function folder(name: string, config: Record<string, unknown>, tensors: Array<{ name: string; shape: number[] }>, change?: (name: string, values: Float32Array) => void): Promise<string> {
  const path = join(dir, name);
  mkdirSync(path);
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(path, 'model.safetensors'), tensors.map(({ name, shape }, i): TensorSource => {
    const values = normals(i + 1, shape.reduce((a, b) => a * b, 1));
    change?.(name, values);
    const width = shape.slice(1).reduce((a, b) => a * b, 1);
    return { name, shape, dtype: 'F32', read: (first, rows) => values.subarray(first * width, (first + rows) * width) };
  }));
  return path;
}

for (const [name, { config }] of Object.entries(families)) {
  t.test(`${name}: taken apart and written again, every bit under its old name`, async (t) => {
    const spec = modelSpec(config, name);
    const base = ModelFolder.open(await folder(name, config, storedSpecs(spec).sort((a, b) => (a.name < b.name ? -1 : 1))));
    const copy = join(dir, `${name} again`);
    mkdirSync(copy);
    const specs = new Map(parameterSpecs(spec).map((p) => [p.name, p]));
    await writeModelFolder(copy, { base, dtype: 'auto', read: async (own) => base.readF32(specs.get(own)!) });
    t.same(readFileSync(join(copy, 'model.safetensors')), readFileSync(join(base.path, 'model.safetensors')));
    // Pieces of a table or a fused tensor are those of the whole.
    for (const p of specs.values()) {
      const [whole, width] = [base.readF32(p), p.shape[1] ?? 1];
      t.same(base.readF32(p, 1, 2), whole.slice(width, 3 * width), p.name);
    }
    base.close();
  });
}

t.test('config.json is written with its numbers as they stand: transformers takes no 30 for 30.0', async (t) => {
  const spec = modelSpec(families['gemma2']!.config, 'gemma2');
  const path = await folder('numbers', families['gemma2']!.config, storedSpecs(spec));
  const config = { ...families['gemma2']!.config, note: 'a "6.0" \\ 7.0 in a text', torch_dtype: 'bfloat16' };
  const text = JSON.stringify(config, null, 2).replace('"final_logit_softcapping": 6', '"final_logit_softcapping": 6.0').replace('"rms_norm_eps": 0.000001', '"rms_norm_eps": 1e-06');
  t.match(text, /6\.0,[^]*1e-06/);
  writeFileSync(join(path, 'config.json'), text);
  const base = ModelFolder.open(path);
  const copy = join(dir, 'numbers again');
  mkdirSync(copy);
  const specs = new Map(parameterSpecs(spec).map((p) => [p.name, p]));
  await writeModelFolder(copy, { base, dtype: 'float32', read: async (own) => base.readF32(specs.get(own)!) });
  t.equal(readFileSync(join(copy, 'config.json'), 'utf8'), `${text.replace('"bfloat16"', '"float32"')}\n`, 'only the format is another');
});

t.test('GPT-2 without the prefix, with masks and a copy of its head; written as it was', async (t) => {
  const config = families['gpt2']!.config;
  const spec = modelSpec(config, 'gpt2');
  const tensors = [...storedSpecs(withoutPrefix(spec)), { name: 'h.0.attn.bias', shape: [1, 1, 40, 40] }, { name: 'h.0.attn.masked_bias', shape: [] }, { name: 'lm_head.weight', shape: [spec.V, spec.D] }];
  const copied = (name: string, values: Float32Array): void => { if (/^wte|^lm_head/.test(name)) values.set(normals(99, values.length)); };
  const base = ModelFolder.open(await folder('bare', config, tensors, copied));
  t.equal(base.spec.names.embed, 'wte.weight');
  t.equal(base.spec.names.head, 'lm_head.weight');
  const copy = join(dir, 'bare again');
  mkdirSync(copy);
  const specs = new Map(parameterSpecs(base.spec).map((p) => [p.name, p]));
  await writeModelFolder(copy, { base, dtype: 'auto', read: async (own) => base.readF32(specs.get(own)!) });
  t.same([...ModelFolder.open(copy).names].sort(), storedSpecs(withoutPrefix(spec)).map((p) => p.name).sort());

  const other = await folder('other head', config, tensors, (name, values) => { copied(name, values); if (name === 'lm_head.weight') values[30 * spec.D + 2]! += 1; });
  t.throws(() => ModelFolder.open(other), { message: /config.json says tie_word_embeddings, but lm_head.weight is not wte.weight \(row 30 differs\)/ });
});
