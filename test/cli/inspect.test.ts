import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { TokenAudit } from '../../src/model/data/audit.js';
import { lengthHistogram } from '../../src/model/data/audit.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';
import { PUBLISHED } from '../model/published_configs.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-inspect-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = await tinyFolder(join(dir, 'model'));
const put = (name: string, rows: object[]): string => {
  writeFileSync(join(dir, name), rows.map((r) => `${JSON.stringify(r)}\n`).join(''));
  return join(dir, name);
};
const audit = (data: string, ...more: string[]): TokenAudit => {
  const r = edpo(['inspect', '--model_name_or_path', model, '--dataset_name', data, '--json', ...more]);
  t.equal(r.code, 0, r.err);
  return (JSON.parse(r.out.trim().split('\n').at(-1)!) as { audit: TokenAudit }).audit;
};

t.test('length histograms', async (t) => {
  t.same(lengthHistogram([0, 15, 16, 31, 32, 33, 64]), { p50: 31, p90: 64, p99: 64, max: 64, bins: [{ from: 0, to: 15, count: 2 }, { from: 16, to: 31, count: 2 }, { from: 32, to: 63, count: 2 }, { from: 64, to: 127, count: 1 }] });
  t.same(lengthHistogram([3]).bins, [{ from: 0, to: 15, count: 1 }]);
  t.equal(lengthHistogram(Array.from({ length: 100 }, (_, i) => i + 1)).p99, 99);
});

t.test('what stands out: doubled and missing BOS and EOS, copies, longer sides, a padded trainer’s rows', async (t) => {
  const pair = { prompt: 'abc', chosen: ' defg', rejected: ' hi' };
  const a = audit(put('copies.jsonl', [pair, pair, { ...pair, rejected: ' hij' }, { prompt: 'z', chosen: ' a', rejected: ' bc' }]));
  t.match(a.findings, { 'a copy of an earlier row': { count: 1, rows: [1] }, 'a prompt of an earlier row with other responses': { count: 1, rows: [2] } });
  t.equal(a.chosen_longer, 3);
  t.match(a.lengths, { chosen: { max: 6 }, rejected: { max: 5 } });
  // BOS abc, then space, letters, EOS: 4 + 6 in the first three rows; nothing is longer, and the padded trainer runs both sides of four pairs.
  t.equal(a.padded_rows, 10 * 4 * 2);
  t.ok(a.rows < a.padded_rows);
  const ids = { prompt_ids: [0, 0, 5], chosen_ids: [6, 1, 1], rejected_ids: [7, 1, 8, 1] };
  t.match(audit(put('ids.jsonl', [ids, { prompt_ids: [4], chosen_ids: [0, 6], rejected_ids: [7, 1] }]), '--dataset_format', 'tokenized').findings, {
    'BOS more than once in the prompt': { rows: [0] }, 'two end tokens after a response': { rows: [0] }, 'an end token inside a response': { rows: [0] },
    'BOS in a response': { rows: [1] }, 'a response without an end token': { rows: [1] },
  });
  const text = edpo(['inspect', '--model_name_or_path', model, '--dataset_name', tinyPairs(join(dir, 'fine.jsonl'), 30)]);
  t.match(text.out, /prompts: half within \d+ tokens/);
  t.match(text.out, /found: /);
  t.match(text.out, /a padded trainer would run \d+ \(\d\.\d\d times as many\)/);
});

realTest('tokens are shown with their spaces: joined they are the text, in a SentencePiece and in a byte-level vocabulary', async (t) => {
  const rows = put('spaces.jsonl', [{ prompt: 'once upon a time. lily  said:', chosen: ' a big  dog and a cat.', rejected: ' no' }]);
  for (const folder of [sharedData('models', 'stories260K', 'hf'), model]) {
    const r = edpo(['inspect', '--model_name_or_path', folder, '--dataset_name', rows, '--max_train_samples', '1', '--json']);
    t.equal(r.code, 0, r.err);
    const shown = JSON.parse(r.out.split('\n')[0]!) as Record<'prompt' | 'chosen', Array<[number, string]>>;
    const text = (side: keyof typeof shown): string => shown[side].map(([, piece]) => piece).filter((p) => p !== '<s>' && p !== '</s>').join('');
    // SentencePiece begins a text with a space of its own.
    t.equal(text('prompt').trimStart(), 'once upon a time. lily  said:');
    t.equal(text('chosen').trimStart(), 'a big  dog and a cat.');
  }
});

t.test('a plan beyond gpu_memory is refused by plan and train, with the cheapest changes; what they promise holds', async (t) => {
  const data = tinyPairs(join(dir, 'plan.jsonl'), 30);
  const base = ['--model_name_or_path', model, '--dataset_name', data, '--loss_type', 'epsilon_dpo', '--token_budget', '4096'];
  const total = (...more: string[]): number => (JSON.parse(edpo(['plan', ...base, '--json', ...more]).out) as { memory_bytes: number }).memory_bytes;
  const live = total('--ref_mode', 'live');
  const gb = (share: number): string => String((share * live) / 1e9);
  t.equal(edpo(['plan', ...base, '--ref_mode', 'live', '--gpu_memory', gb(1.01)]).code, 0);
  for (const [command, share] of [[['plan'], 0.5], [['train', '--output_dir', join(dir, 'run')], 0.3]] as const) {
    const r = edpo([...command, ...base, '--ref_mode', 'live', '--gpu_memory', gb(share)]);
    t.equal(r.code, 2);
    t.match(r.err, /the plan takes [\d.]+ MB on the GPU \(.* of it weights, gradients and optimiser state\), gpu_memory is [\d.]+ [kM]B; (.*):\n( +--.*\n)+/);
    t.notMatch(r.err, /^adapter:/m, 'before the GPU is touched');
    const ways = [...r.err.matchAll(/^ +(--[^:]+): [\d.]+ [kM]B \(/gm)].map((m) => m[1]!.split(' '));
    t.equal(new Set(ways.map(String)).size, ways.length, 'no way twice');
    t.ok(ways.length >= 2 && r.err.includes(ways.length === 3 ? '; each of these fits by itself, the cheapest first:\n' : '; only 2 ways fit:\n'), r.err);
    for (const way of command[0] === 'plan' ? ways : ways.slice(-1)) {
      const fitting = edpo(['plan', ...base, '--ref_mode', 'live', ...way, '--gpu_memory', gb(share)]);
      t.equal(fitting.code, 0, `${way.join(' ')}: ${fitting.err}`);
    }
  }
  // Nothing is promised beyond what there is: the least of all settings just fits, anything below fits with none.
  const none = edpo(['plan', ...base, '--gpu_memory', '0.00001']);
  t.equal(none.code, 2);
  t.match(none.err, /no setting fits: the least that settings reach is [\d.]+ kB, with --token_budget \d+ .*--use_peft true\nhint: a smaller model, shorter documents \(the longest takes \d+ rows: --max_length\) or a larger card/);
  const floor = /with (--.*)$/m.exec(none.err)![1]!.split(' ');
  const least = total(...floor);
  const bare = edpo(['plan', ...base, '--gpu_memory', String((least * 1.0001) / 1e9)]);
  t.match(bare.err, /only (one way fits|2 ways fit):\n +--.*\n(.*\n)?hint: the least that settings reach is [\d.]+ kB, with .*; below that a smaller model/);
  t.equal(edpo(['plan', ...base, ...floor, '--gpu_memory', String((least * 1.0001) / 1e9)]).code, 0);
});

t.test('a plan from config.json alone: ways to train by token budgets, bytes per item, the card each fits; text and JSON', async (t) => {
  const alone = join(dir, 'alone');
  mkdirSync(alone);
  const config = { ...PUBLISHED['google/gemma-2-2b-it']!.config };
  writeFileSync(join(alone, 'config.json'), JSON.stringify(config));
  const text = edpo(['plan', '--model_name_or_path', alone, '--loss_type', 'epsilon_dpo', '--lora_r', '8', '--token_budget', '3000']);
  t.equal(text.code, 0, text.err);
  t.notMatch(text.err, /not used|^adapter: /m);
  t.match(text.out, /^model: gemma2, 2614\.3 M parameters; loss epsilon_dpo, reference: cache\n/);
  t.match(text.out, /\nfull: --use_peft false.*\n  rows +1024 +2048 +3000 +4096 +8192 +16384\n  weights +10\.46 /);
  t.match(text.out, /\nLoRA: --use_peft true --base_dtype float32 --lora_r 8 --lora_target_modules q_proj,v_proj\n/);
  t.match(text.out, /\n  reference head +1\.18 [^]*\n  fits a card of +48 GB /);
  type Plan = { setup: string; token_budget: number; gradient_checkpointing: boolean; memory: Record<string, number>; memory_bytes: number; card_gb: number | null };
  const json = edpo(['plan', '--model_name_or_path', join(alone, 'config.json'), '--json', '--gpu_memory', '46']);
  t.equal(json.code, 0, json.err);
  const { plans, cards_gb } = JSON.parse(json.out) as { plans: Plan[]; cards_gb: number[] };
  t.same(cards_gb, [8, 12, 16, 24, 46, 48, 80, 141], 'the run’s own card beside the others');
  for (const p of plans) {
    t.equal(Object.values(p.memory).reduce((a, b) => a + b, 0), p.memory_bytes);
    t.equal(p.card_gb, cards_gb.find((gb) => p.memory_bytes <= gb * 1e9) ?? null, `${p.setup} at ${p.token_budget}: ${p.memory_bytes} bytes`);
  }
  t.same([...new Set(plans.map((p) => p.token_budget))], [1024, 2048, 4096, 8192, 16384]);

  const refused = (over: Record<string, unknown>, message: RegExp): void => {
    writeFileSync(join(alone, 'other.json'), JSON.stringify({ ...config, ...over }));
    const r = edpo(['plan', '--model_name_or_path', join(alone, 'other.json')]);
    t.equal(r.code, 2, r.err);
    t.match(r.err, message);
  };
  refused({ quantization_config: { quant_method: 'gptq', bits: 4 } }, /quantised \(gptq, 4 bits\)/);
  refused({ model_type: 'rwkv' }, /model_type "rwkv" is not one edpo knows/);
});
