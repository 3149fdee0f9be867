import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { edpo, tinyFolder, tinyPairs, type CliResult } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-bad-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = await tinyFolder(join(dir, 'model'));
const data = tinyPairs(join(dir, 'd.jsonl'), 12);
let runs = 0;
const train = (...args: string[]): string[] => ['train', '--model_name_or_path', model, '--dataset_name', data, '--output_dir', join(dir, `run${runs++}`), '--num_train_epochs', '1', '--total_batch_size', '4', '--token_budget', '256', ...args];

/** One clear error: exit code, no stack trace, no GPU touched where it can be known before. */
function refused(t: import('tap').Test, r: CliResult, message: RegExp, o: { code?: number; gpu?: boolean } = {}): void {
  t.equal(r.code, o.code ?? 2, r.err);
  t.match(r.err, message);
  t.match(r.err, /\nhint: |^hint: /, 'a hint to type');
  t.notMatch(r.err, /\n\s+at .*\(/, 'no stack trace');
  if (!o.gpu) t.notMatch(r.err, /^adapter: /m, 'before any GPU work');
}
/** The model folder with something wrong. */
async function broken(name: string, change: (folder: string) => void | Promise<void>): Promise<string> {
  const folder = join(dir, name);
  cpSync(model, folder, { recursive: true });
  await change(folder);
  return folder;
}
const withModel = (folder: string): CliResult => edpo([...train().map((a) => (a === model ? folder : a))]);
const withData = (text: string | Buffer, ...args: string[]): CliResult => {
  const path = join(dir, `bad${runs++}.jsonl`);
  writeFileSync(path, text);
  return edpo(train(...args).map((a) => (a === data ? path : a)));
};

t.test('configuration', async (t) => {
  refused(t, edpo(train('--betta', '1')), /unknown option '--betta'/);
  refused(t, edpo(train('--beta', 'much')), /beta +expected a number > 0, got "much"/);
  refused(t, edpo(train('--beta', '-1')), /beta +expected a number > 0, got -1/);
  refused(t, edpo(train('--per_device_train_batch_size', '3')), /total_batch_size +is 4, but per_device_train_batch_size/);
  const yaml = join(dir, 'broken.yaml');
  writeFileSync(yaml, 'beta: 0.1\nloss_type: [sigmoid\nepsilon: 1\n');
  refused(t, edpo(['train', '--config', yaml]), /broken.yaml line \d+/);
});

t.test('model folders', async (t) => {
  refused(t, withModel(join(dir, 'nowhere')), /model folder .*nowhere does not exist/);
  refused(t, withModel(await broken('no-weights', (f) => rmSync(join(f, 'model.safetensors')))), /has no weights: no \*.safetensors/);
  // Were it opened, this would run code.
  const pickled = withModel(await broken('pickled', (f) => { rmSync(join(f, 'model.safetensors')); writeFileSync(join(f, 'pytorch_model.bin'), "cos\nsystem\n(S'touch pwned'\ntR."); }));
  refused(t, pickled, /only pickled weights \(pytorch_model.bin\), which edpo never opens[\s\S]*hint: .*python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained\('.*pickled'\).save_pretrained\('.*pickled'\)"/);
  refused(t, withModel(await broken('truncated', (f) => truncateSync(join(f, 'model.safetensors'), 5000))), /is not a whole safetensors file: tensor .* ends at byte \d+, the file has 5000/);
  refused(t, withModel(await broken('lying', (f) => {
    const bytes = readFileSync(join(f, 'model.safetensors'));
    bytes.writeBigUInt64LE(99999999n);
    writeFileSync(join(f, 'model.safetensors'), bytes);
  })), /the header says 99999999 bytes/);
  const edit = (key: string, value: unknown) => (f: string): void => {
    const config = JSON.parse(readFileSync(join(f, 'config.json'), 'utf8')) as Record<string, unknown>;
    writeFileSync(join(f, 'config.json'), JSON.stringify({ ...config, [key]: value }));
  };
  refused(t, withModel(await broken('shapes', edit('intermediate_size', 30))), /tensors do not fit config.json[\s\S]*expected \[30, 20\] from config.json, got \[27, 20\]/);
  refused(t, withModel(await broken('architecture', edit('model_type', 'mamba'))), /model_type "mamba" is not one edpo knows/);
  refused(t, withModel(await broken('gptq', edit('quantization_config', { quant_method: 'gptq', bits: 4, group_size: 128 }))), /config.json: quantization_config says the weights are quantised \(gptq, 4 bits\); edpo reads float32, float16 and bfloat16/);
  refused(t, withModel(await broken('awq', edit('quantization_config', { quant_method: 'awq' }))), /quantised \(awq\)/);
  const named = (name: string, dtype: string) => (f: string): void => {
    // One tensor's name and dtype in the header, of the same length.
    const path = join(f, 'model.safetensors');
    const bytes = readFileSync(path);
    const end = 8 + Number(bytes.readBigUInt64LE());
    const text = bytes.subarray(8, end).toString().replace(/"model\.norm\.weight":\{"dtype":"F32"/, `"${name}":{"dtype":"${dtype}"`);
    writeFileSync(path, Buffer.concat([bytes.subarray(0, 8), Buffer.from(text), bytes.subarray(end)]));
  };
  refused(t, withModel(await broken('qweight', named('model.nor.qweight', 'I32'))), /tensor model.nor.qweight \(I32\) is of a GPTQ or AWQ checkpoint/);
  refused(t, withModel(await broken('integers', named('model.norm.weight', 'I32'))), /tensor model.norm.weight has dtype I32; edpo reads F32, F16 and BF16/);
  refused(t, withModel(await broken('tied', edit('tie_word_embeddings', true))), /config.json says tie_word_embeddings, but lm_head.weight is not model.embed_tokens.weight \(row 0 differs\)/);
  const tied = await tinyFolder(join(dir, 'tied-files'), 1, { tie_word_embeddings: true });
  edit('tie_word_embeddings', false)(tied);
  refused(t, withModel(tied), /has no lm_head.weight, and its config.json does not say that the head is the embedding/);
  refused(t, withModel(await broken('fewer', edit('num_hidden_layers', 1))), /9 tensors do not fit config.json[\s\S]*model.layers.1.self_attn.q_proj.weight: not a tensor of this model, \[36, 20\]/);
  refused(t, withModel(await broken('more', edit('num_hidden_layers', 3))), /9 tensors do not fit config.json[\s\S]*model.layers.2.self_attn.q_proj.weight: missing, expected \[36, 20\]/);
  refused(t, withModel(await broken('yarn', edit('rope_scaling', { rope_type: 'yarn', factor: 4 }))), /rope_scaling of type "yarn" is not one edpo has; it has default, linear, dynamic, llama3, longrope/);
  refused(t, withModel(await broken('dynamic', (f) => { edit('rope_scaling', { type: 'dynamic', factor: 2 })(f); edit('max_position_embeddings', 12)(f); })), /train: row \d+ has \d+ tokens; this model has 12 positions, and beyond them dynamic RoPE turns by angles that depend[\s\S]*--max_length 12/);
  refused(t, withModel(await broken('activation', edit('hidden_act', 'relu'))), /hidden_act: edpo offers "silu" here, got "relu"/);
  refused(t, withModel(await broken('config', (f) => writeFileSync(join(f, 'config.json'), '{'))), /config.json is no JSON/);
  refused(t, withModel(await broken('tokenizer', (f) => {
    const json = JSON.parse(readFileSync(join(f, 'tokenizer.json'), 'utf8')) as { model: { vocab: Record<string, number> } };
    for (let i = 0; i < 40; i++) json.model.vocab[`extra${i}`] = 33 + i;
    writeFileSync(join(f, 'tokenizer.json'), JSON.stringify(json));
  })), /the tokenizer has 73 ids, the model's vocabulary only 37/);
  const nan = await tinyFolder(join(dir, 'nan'), 1, {}, (w) => { w['model.layers.1.mlp.up_proj.weight']![7] = NaN; });
  refused(t, withModel(nan), /tensor model.layers.1.mlp.up_proj.weight holds NaN/, { gpu: true });
});

t.test('data', async (t) => {
  const good = '{"prompt":"a:","chosen":"b","rejected":"c"}\n';
  refused(t, edpo(train().map((a) => (a === data ? join(dir, 'no.jsonl') : a))), /neither a file nor a folder/);
  refused(t, withData(`${good}{"prompt":\n`), /line 2 is no JSON/);
  refused(t, withData('{"question":"a"}\n'), /column chosen, rejected is missing; it has question/);
  refused(t, withData(`${good}{"prompt":"a:","chosen":"","rejected":"c"}\n{"prompt":"a:","chosen":"x","rejected":"x"}\n`), /empty response: 1 row \(1,[\s\S]*identical: 1 row \(2/);
  refused(t, withData(Buffer.concat([Buffer.from(good), Buffer.from([0x7b, 0xff, 0x7d, 0x0a])])), /line 2 is not valid UTF-8/);
  refused(t, withData('{"prompt_ids":[0],"chosen_ids":[99],"rejected_ids":[2]}\n'), /token id 99 is outside the model's vocabulary of 37/);
  refused(t, edpo(train('--token_budget', '8')), /takes \d+ token rows .*token_budget is 8/);
});

t.test('reference caches', async (t) => {
  const cache = join(dir, 'cache');
  const base = (...args: string[]): string[] => train('--loss_type', 'epsilon_dpo', '--ref_cache', cache, '--beta', '0.1', ...args);
  const first = edpo(['precompute-ref', '--model_name_or_path', model, '--dataset_name', data, '--loss_type', 'epsilon_dpo', '--ref_cache', cache, '--token_budget', '128']);
  t.equal(first.code, 0, first.err);
  const other = await tinyFolder(join(dir, 'other'), 9);
  refused(t, edpo(base('--ref_model_name_or_path', other)), /was made with the weights of another reference model/, { gpu: true });
  const more = tinyPairs(join(dir, 'more.jsonl'), 13, 5);
  refused(t, edpo(base().map((a) => (a === data ? more : a))), /was made with another number of pairs|other data/, { gpu: true });
  refused(t, edpo(base('--max_length', '20', '--max_prompt_length', '19', '--truncation_mode', 'keep_start')), /was made with other data|another max_length/, { gpu: true });
  const sidecar = join(cache, 'ref.train.hidden-00000.bin');
  const bytes = readFileSync(sidecar);
  const flipped = Buffer.from(bytes);
  flipped[100]! ^= 1;
  writeFileSync(sidecar, flipped);
  refused(t, edpo(base()), /the reference cache .* is damaged: pair 0: hidden states in .* have checksum/, { gpu: true });
  writeFileSync(sidecar, bytes);
  // Cut in half: completed, and said so.
  const table = join(cache, 'ref.train.ndjson');
  const whole = readFileSync(table);
  truncateSync(table, Math.floor(whole.length / 2));
  const completed = edpo(base());
  t.equal(completed.code, 0, completed.err);
  t.match(completed.err, /the reference cache is partial \(\d+ of 12 pairs\); completing it/);
  t.same(readFileSync(table), whole, 'to the same bytes');
  t.same(readFileSync(sidecar), bytes);
});

t.test('output folder: in use, already a run, full disk at once and in the middle', async (t) => {
  const args = train('--save_steps', '1');
  const out = args[args.indexOf('--output_dir') + 1]!;
  mkdirSync(out);
  writeFileSync(join(out, '.edpo.lock'), JSON.stringify({ pid: process.pid }));
  refused(t, edpo(args), new RegExp(`is in use by process ${process.pid}`));
  writeFileSync(join(out, '.edpo.lock'), JSON.stringify({ pid: 4194000 }));
  const over = edpo(args);
  t.equal(over.code, 0, over.err);
  t.match(over.err, /took over .* from process 4194000/);
  refused(t, edpo(args), /already holds a run/);
  const wide = await tinyFolder(join(dir, 'wide'), 1, { intermediate_size: 300 });
  const full = train('--save_steps', '1', '--loss_type', 'sigmoid').map((a) => (a === model ? wide : a));
  const fullOut = full[full.indexOf('--output_dir') + 1]!;
  // On SwiftShader, whatever the suite runs on: Mesa's software driver keeps GPU memory in files that may not grow under the limit, and dies of
  // it before anything of ours is written. SwiftShader itself needs mapped files of up to 200 kB for its compiled kernels; the state of this checkpoint takes about 500.
  const env = { EDPO_ADAPTER: 'swiftshader' };
  // It is unpacked before the limit holds.
  t.equal(edpo(['doctor', '--adapter', 'swiftshader']).code, 0);
  refused(t, edpo(full, { shell: 'ulimit -f 300', env }), /cannot write .*: the file-size limit \(ulimit -f\) is reached/, { code: 1, gpu: true });
  t.same(existsSync(fullOut) ? readdirSync(fullOut).filter((f) => f.startsWith('checkpoint')) : [], [], 'no half checkpoint carries the name');
  // In the middle: a checkpoint of ~110 kB fits, a ledger beyond 200 kB does not.
  const many = tinyPairs(join(dir, 'many.jsonl'), 500, 3);
  const middle = [...train('--save_steps', '5', '--num_train_epochs', '2', '--total_batch_size', '16', '--ref_mode', 'live').map((a) => (a === data ? many : a))];
  const r = edpo(middle, { shell: 'ulimit -f 400', env });
  t.equal(r.code, 1, r.err);
  t.match(r.err, /cannot write .*pairs.ndjson: the file-size limit .*the last checkpoint is .*checkpoint-\d+/);
  const middleOut = middle[middle.indexOf('--output_dir') + 1]!;
  const resumed = edpo([...middle, '--resume'], { env });
  t.equal(resumed.code, 0, resumed.err);
  t.match(resumed.err, /resuming after step \d+/);
  t.equal(readFileSync(join(middleOut, 'pairs.ndjson'), 'utf8').trim().split('\n').length, 1000, 'every pair of both epochs, once');
});

t.test('non-finite loss, lost device, no adapter', async (t) => {
  refused(t, edpo(train('--learning_rate', '1e30', '--max_grad_norm', '0', '--lr_scheduler_type', 'constant')), /step \d: non-finite (loss in pair \d+|gradient)/, { code: 1, gpu: true });
  const skip = edpo(train('--learning_rate', '1e30', '--max_grad_norm', '0', '--lr_scheduler_type', 'constant', '--on_nonfinite', 'skip'));
  t.match(skip.err, /warning: step \d: non-finite .*weights, moments and β were not moved/);
  const lost = train('--save_steps', '1', '--num_train_epochs', '2');
  refused(t, edpo(lost, { env: { EDPO_FAULT: 'device_lost:3' } }), /the GPU device was lost: .*the last checkpoint is .*checkpoint-\d\nhint: edpo train --config .* --resume/, { code: 1, gpu: true });
  const resumed = edpo([...lost, '--resume']);
  t.equal(resumed.code, 0, resumed.err);
  refused(t, edpo(train('--save_steps', '100'), { env: { EDPO_FAULT: 'device_lost:1' } }), /there is no checkpoint yet\nhint: start anew with the same command; a smaller --save_steps/, { code: 1, gpu: true });
  refused(t, edpo(train('--adapter', 'GeForce 256')), /no adapter whose name contains "GeForce 256"/);
  refused(t, edpo(train(), { env: { EDPO_ADAPTER: 'GeForce 256' } }), /no adapter whose name contains "GeForce 256"/);
  copyFileSync(data, join(dir, 'copy.jsonl'));
});
