import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ModelFolder } from '../../src/model/files/hf_folder.js';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-family-runs-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const data = tinyPairs(join(dir, 'd.jsonl'), 6);

for (const [name, over] of Object.entries({
  gpt2: { model_type: 'gpt2', n_embd: 20, n_layer: 2, n_head: 2, n_inner: 27, n_positions: 40, tie_word_embeddings: true },
  // Long documents among short ones.
  phi3: { model_type: 'phi3', num_attention_heads: 4, original_max_position_embeddings: 20, rope_scaling: { type: 'longrope', short_factor: [1, 1.5, 2], long_factor: [2, 3, 4] } },
})) {
  t.test(`${name}: trained, saved under the names it came with, read again to the bit`, async (t) => {
    const model = await tinyFolder(join(dir, name), 1, over);
    const out = join(dir, `${name}-run`);
    const train = ['train', '--model_name_or_path', model, '--dataset_name', data, '--output_dir', out, '--num_train_epochs', '1', '--total_batch_size', '3', '--token_budget', '128', '--save_steps', '2', '--learning_rate', '1e-3'];
    const r = edpo(train);
    t.equal(r.code, 0, r.err);
    const [before, after] = [ModelFolder.open(model), ModelFolder.open(out)];
    t.same(after.names, before.names);
    const state = SafetensorsFile.open(join(out, 'checkpoint-2', 'edpo_state.safetensors'));
    for (const file of state.tensors.keys()) {
      if (!file.startsWith('value.')) continue;
      const own = file.slice('value.'.length);
      t.same(after.readF32({ name: own, shape: state.tensors.get(file)!.shape, table: false }), state.readF32(file), own);
    }
    t.notSame(after.weightsHash(), before.weightsHash(), 'trained');
    t.equal(ModelFolder.open(join(out, 'checkpoint-2')).weightsHash(), after.weightsHash());
    if (name !== 'gpt2') return;
    const generate = (...args: string[]) => edpo(['generate', '--model_name_or_path', out, '--prompt', 'ab cd efgh ij:', '--temperature', '0', ...args]);
    const answer = generate('--max_new_tokens', '12');
    t.equal(answer.code, 0, answer.err);
    t.ok(answer.out.trim().length > 0);
    const long = generate('--max_new_tokens', '40');
    t.equal(long.code, 2);
    t.match(long.err, /the longest prompt with max_new_tokens has \d+ tokens; this model has 40 positions, and its positions are learned[\s\S]*hint: .*--max_new_tokens/);
    t.match(readFileSync(join(out, 'config.json'), 'utf8'), /"model_type": "gpt2"/);
  });
}
