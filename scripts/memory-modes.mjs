/**
 * Trains the real small model (EDPO_SHARED) once in every memory mode through the command, and draws the loss curves in one picture.
 *
 *   EDPO_SHARED=../shared node scripts/memory-modes.mjs [--out DIR] [--steps 24] [--picture docs/memory-modes.svg]
 *
 * DIR keeps the runs, so a second call only draws. Prints the table of docs/memory.md: final loss (the mean of the last epoch, every pair once), its difference from
 * f32's, peak bytes on the GPU.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import * as vega from 'vega';

const flag = (name, fallback) => (process.argv.includes(`--${name}`) ? process.argv[process.argv.indexOf(`--${name}`) + 1] : fallback);
const shared = process.env.EDPO_SHARED;
if (!shared) throw new Error('EDPO_SHARED names the folder with data/');
const out = resolve(flag('out', join(tmpdir(), 'edpo-memory-modes')));
const steps = Number(flag('steps', '24'));
const picture = flag('picture', 'docs/memory-modes.svg');
/** Pairs, and those of an optimiser step: 24 steps are two epochs, so the loss has fallen and nothing is memorised. */
const [PAIRS, BATCH] = [96, 8];
const LORA = ['--use_peft', 'true', '--lora_r', '8', '--lora_target_modules', 'all-linear', '--ref_mode', 'adapter_off', '--learning_rate', '5e-4'];
const help = spawnSync(process.execPath, ['bin/edpo.js', 'train', '--help'], { encoding: 'utf8' }).stdout;

/** Name, keys, and the mode its loss is compared with; lossless ones must be within 2 %. */
const MODES = [
  ['f32', [], 'f32'],
  ['checkpointing, layers', ['--gradient_checkpointing', 'true'], 'f32'],
  ['checkpointing, MLPs', ['--gradient_checkpointing', 'true', '--gradient_checkpointing_granularity', 'mlp'], 'f32'],
  ['f16 activations', ['--activation_dtype', 'float16'], 'f32'],
  ['bf16 activations', ['--activation_dtype', 'bfloat16'], 'f32'],
  ['8-bit AdamW', ['--optim', 'adamw_8bit'], 'f32'],
  ['Adafactor', ['--optim', 'adafactor'], undefined],
  ['SGD, momentum 0.9', ['--optim', 'sgd', '--sgd_momentum', '0.9', '--learning_rate', '1e-2'], undefined],
  ...(help.includes('--master_dtype') ? [['bf16 masters', ['--master_dtype', 'bfloat16', '--base_dtype', 'bfloat16'], undefined], ['bf16 masters, 8-bit AdamW', ['--master_dtype', 'bfloat16', '--base_dtype', 'bfloat16', '--optim', 'adamw_8bit'], undefined]] : []),
  ['LoRA', LORA, 'LoRA'],
  ...(help.includes('--base_dtype') ? [
    ['LoRA, f16 base', [...LORA, '--base_dtype', 'float16'], 'LoRA'],
    ['LoRA, int8 base', [...LORA, '--load_in_8bit', 'true'], undefined],
    ['LoRA, NF4 base', [...LORA, '--load_in_4bit', 'true', '--use_bnb_nested_quant', 'true'], undefined],
  ] : []),
];
const model = join(shared, 'data/models/stories260K/hf');
const data = join(shared, 'data/hh-rlhf/helpful-base/test.jsonl.gz');

mkdirSync(out, { recursive: true });
const runs = MODES.map(([name, keys, against], i) => {
  const dir = join(out, `${i}-${name.replace(/[^\w]+/g, '-')}`);
  if (!existsSync(join(dir, 'run.json'))) {
    const args = ['train', '--model_name_or_path', model, '--data_files', data, '--dataset_format', 'hh', '--max_train_samples', String(PAIRS), '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', String(BATCH), '--max_steps', String(steps), '--max_length', '160',
      '--learning_rate', '1e-4', '--lr_scheduler_type', 'constant', '--ref_mode', 'live', '--token_budget', '2048', '--logging_steps', '1', '--save_strategy', 'no', '--report_html', 'false', '--overwrite_output_dir', 'true', '--output_dir', dir];
    // A later flag of the same name wins.
    const given = new Map();
    for (const list of [args.slice(1), keys]) for (let k = 0; k < list.length; k += 2) given.set(list[k], list[k + 1]);
    const r = spawnSync(process.execPath, ['bin/edpo.js', 'train', ...[...given].flat()], { encoding: 'utf8' });
    if (r.status !== 0) throw new Error(`${name}: ${r.stderr}`);
  }
  const log = readFileSync(join(dir, 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l)).filter((l) => 'loss' in l);
  const last = log.slice(-PAIRS / BATCH);
  return { name, against, points: log.map((l) => [l.step, l.loss]), final: last.reduce((n, l) => n + l.loss, 0) / last.length, bytes: Math.max(...log.map((l) => l.gpu_bytes)) };
});

const view = new vega.View(vega.parse({
  width: 640, height: 340, padding: 8, background: 'white',
  data: [{ name: 'points', values: runs.flatMap((r) => r.points.map(([x, y]) => ({ x, y, mode: r.name }))) }],
  scales: [
    { name: 'x', type: 'linear', domain: [1, steps], range: 'width' },
    { name: 'y', type: 'linear', domain: { data: 'points', field: 'y' }, range: 'height', nice: true, zero: false },
    { name: 'color', type: 'ordinal', domain: runs.map((r) => r.name), range: { scheme: 'category20' } },
    { name: 'dash', type: 'ordinal', domain: runs.map((r) => r.name), range: runs.map((_, i) => [[1, 0], [6, 3], [2, 2]][i % 3]) },
  ],
  axes: [{ orient: 'bottom', scale: 'x', title: 'optimiser step' }, { orient: 'left', scale: 'y', title: 'ε-DPO loss', grid: true }],
  legends: [{ stroke: 'color', strokeDash: 'dash', symbolType: 'stroke', symbolSize: 400, symbolStrokeWidth: 1.8, labelLimit: 300 }],
  marks: [{
    type: 'group', from: { facet: { name: 'line', data: 'points', groupby: 'mode' } },
    marks: [{ type: 'line', from: { data: 'line' }, encode: { enter: { x: { scale: 'x', field: 'x' }, y: { scale: 'y', field: 'y' }, stroke: { scale: 'color', field: 'mode' }, strokeDash: { scale: 'dash', field: 'mode' }, strokeWidth: { value: 1.6 } } } }],
  }],
}), { renderer: 'none' });
await view.runAsync();
writeFileSync(picture, `${await view.toSVG()}\n`);
view.finalize();
console.log('| mode | final loss | against | peak bytes on the GPU |\n| --- | --- | --- | --- |');
for (const r of runs) {
  const base = runs.find((x) => x.name === r.against) ?? runs.find((x) => x.name === (r.name.startsWith('LoRA') ? 'LoRA' : 'f32'));
  console.log(`| ${r.name} | ${r.final.toFixed(4)} | ${r === base ? '' : `${((r.final / base.final - 1) * 100).toFixed(2)} % from ${base.name}${r.against ? '' : ' (another method, or lossy by design)'}`} | ${(r.bytes / 1e6).toFixed(2)} MB |`);
}
