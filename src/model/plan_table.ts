import type { RunConfig } from '../config/keys.js';
import { parameterCount, type ModelSpec } from './families/spec.js';
import { loraTargets, moduleOf } from './lora.js';
import { adaptersOf } from './lora_run.js';
import type { MemoryPlan } from './memory.js';
import { trainingMemory } from './memory_advice.js';
import { lossOf } from './session.js';

/** Memory of the cards people have, in GB of 1e9 bytes. */
export const CARDS = [8, 12, 16, 24, 48, 80, 141];
/** Rows of a micro-batch that the table shows; the configuration's own beside them. */
export const BUDGETS = [1024, 2048, 4096, 8192, 16384];

/** One way to train a model: the keys that choose it, over the configuration's. */
export interface Setup {
  name: string;
  keys: Partial<RunConfig>;
}

/** Ways to train, dearest first. A format of weights, moments or activations enters the table as the keys that choose it. */
export const SETUPS: Setup[] = [
  { name: 'full', keys: { use_peft: false } },
  { name: 'full, 8-bit AdamW', keys: { use_peft: false, optim: 'adamw_8bit' } },
  { name: 'full, bfloat16 weights, 8-bit AdamW', keys: { use_peft: false, optim: 'adamw_8bit', master_dtype: 'bfloat16' } },
  { name: 'LoRA', keys: { use_peft: true, base_dtype: 'float32' } },
  { name: 'LoRA on a 16-bit base', keys: { use_peft: true, base_dtype: 'float16' } },
  { name: 'LoRA on an 8-bit base', keys: { use_peft: true, load_in_8bit: true, base_dtype: 'float16' } },
  { name: 'QLoRA', keys: { use_peft: true, load_in_4bit: true, use_bnb_nested_quant: true, base_dtype: 'float16' } },
];

/** What one setup takes at one budget, and the smallest card that holds it. */
export interface PlanRow {
  setup: string;
  keys: Partial<RunConfig>;
  rows: number;
  checkpointing: boolean;
  memory: MemoryPlan;
  /** GB; undefined where no card of `CARDS` does. */
  card: number | undefined;
}

/** The published cards, and the one a run has. */
const cardsOf = (c: RunConfig): number[] => [...new Set([...CARDS, ...(c.gpu_memory === undefined ? [] : [c.gpu_memory])])].sort((a, b) => a - b);

/** Every setup at every budget, activations of each layer made again and kept; from the configuration of a model alone. */
export function planTable(spec: ModelSpec, config: RunConfig, setups = SETUPS, budgets = BUDGETS): PlanRow[] {
  const loss = lossOf(config);
  const cards = cardsOf(config);
  // Masters in bfloat16 have no f16 copies beside them: training refuses the two together.
  const possible = setups.filter(({ keys }) => config.dtype !== 'mixed_f16' || keys.master_dtype !== 'bfloat16');
  return possible.flatMap(({ name, keys }) => [true, false].flatMap((checkpointing) => budgets.map((rows): PlanRow => {
    const c = { ...config, load_in_4bit: false, load_in_8bit: false, master_dtype: 'float32' as const, ...keys, gradient_checkpointing: checkpointing, token_budget: rows };
    const memory = trainingMemory(spec, loss, c, adaptersOf(spec, c));
    return { setup: name, keys, rows, checkpointing, memory, card: cards.find((gb) => memory.total <= gb * 1e9) };
  })));
}

/** Last parts of the modules' names, as a user writes them. */
const moduleNames = (spec: ModelSpec, c: RunConfig): string => c.lora_target_modules?.join(',') ?? [...new Set(loraTargets(spec, undefined).map((t) => moduleOf(t).split('.').at(-1)!))].join(',');
const gb = (bytes: number): string => (bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 2);
const cardText = (card: number | undefined): string => (card === undefined ? 'none' : `${card} GB`);

/** The table as lines of text: per setup a block, its items in GB down, budgets across. */
export function planText(spec: ModelSpec, config: RunConfig, table: PlanRow[]): string[] {
  const lines = [
    `model: ${spec.modelType}, ${(parameterCount(spec) / 1e6).toFixed(1)} M parameters; loss ${[config.loss_type].flat().join(' + ')}, reference: ${lossOf(config).needs.reference === 'none' ? 'none' : config.ref_mode}`,
    'GPU memory in GB (1e9 bytes) by rows of a micro-batch (token_budget); gradient_checkpointing true unless said otherwise',
  ];
  for (const setup of new Set(table.map((r) => r.setup))) {
    const [again, kept] = [true, false].map((checkpointing) => table.filter((r) => r.setup === setup && r.checkpointing === checkpointing)) as [PlanRow[], PlanRow[]];
    const { keys: own } = again[0]!;
    const lora = own.use_peft ? { lora_r: config.lora_r, lora_target_modules: moduleNames(spec, config) } : {};
    const keys = Object.entries({ ...own, ...lora }).map(([k, v]) => `--${k} ${String(v)}`).join(' ');
    const line = (head: string, cells: string[]): string => `${head.padEnd(40)}${cells.map((x) => x.padStart(9)).join('')}`;
    lines.push('', `${setup}: ${keys}`, line('  rows', again.map((r) => `${r.rows}`)));
    // What only some budgets leave room for (the head's tiles kept) is 0 at the others.
    for (const part of new Set(again.flatMap((r) => Object.keys(r.memory.parts)))) lines.push(line(`  ${part}`, again.map((r) => gb(r.memory.parts[part] ?? 0))));
    lines.push(line('  in all', again.map((r) => gb(r.memory.total))), line('  fits a card of', again.map((r) => cardText(r.card))));
    lines.push(line('  in all without gradient_checkpointing', kept.map((r) => gb(r.memory.total))), line('  fits a card of', kept.map((r) => cardText(r.card))));
  }
  return lines;
}

/** The same for programs. */
export const planJson = (spec: ModelSpec, config: RunConfig, table: PlanRow[]): object => ({
  model_type: spec.modelType, parameters: parameterCount(spec), loss_type: config.loss_type, ref_mode: config.ref_mode, cards_gb: cardsOf(config),
  plans: table.map((r) => ({ setup: r.setup, keys: r.keys, token_budget: r.rows, gradient_checkpointing: r.checkpointing, memory: r.memory.parts, memory_bytes: r.memory.total, head_tiles: r.memory.headTiles, card_gb: r.card ?? null })),
});
