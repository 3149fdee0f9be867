import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EdpoError, InputError } from '../src/errors.js';
import { documentRows, pack, planMicroBatches, sequenceCapacity, type Document } from '../src/model/batch/pack.js';
import { rows, type Row } from '../src/model/data/rows.js';
import { TokenStore } from '../src/model/data/store.js';
import { openText, type TextFiles } from '../src/model/text/open.js';
import { median } from '../src/gpu/timing.js';
import { parseBench } from './adapter_options.js';
import { ndjsonOut } from './ndjson_out.js';
import { table } from './table.js';

const HELP = `npm run bench -- tokenise [--tokenizer FOLDER --files FILE,FILE --chat_template FILE --repeat 1 --threads 1,2,4 --runs 3 --budget 16384 --out FILE]

Pairs a second that are read, tokenised and stored, by the number of threads; the time to load the tokenizer; and the host's time to pack optimiser steps of 32 pairs. Without
--tokenizer and --files: smollm2's and HH helpful-base of EDPO_SHARED, or the quick start's, repeated 20 times. No GPU.
`;

interface Line {
  threads: number;
  seconds: number;
  pairs_per_second: number;
  tokens_per_second: number;
  speedup: number;
  cpu_seconds: number;
  rss_bytes: number;
}

/** Where rows and tokenizer come from when none is named. */
function usual(): { tokenizer: string; files: string[]; repeat: number } {
  const shared = process.env['EDPO_SHARED'];
  if (shared) return { tokenizer: join(shared, 'data', 'tokenizers', 'smollm2'), files: [join(shared, 'data', 'hh-rlhf', 'helpful-base', 'test.jsonl.gz')], repeat: 1 };
  const quickstart = fileURLToPath(new URL('../../examples/quickstart/', import.meta.url));
  return { tokenizer: join(quickstart, 'model'), files: [join(quickstart, 'data', 'train.jsonl')], repeat: 20 };
}

const wholes = (name: string, value: string): number[] => value.split(',').map((v) => {
  const n = Number(v);
  if (!Number.isInteger(n) || n < 1) throw new InputError(`--${name} ${value}: expected whole numbers from 1`, 'npm run bench -- tokenise --help');
  return n;
});

export async function run(args: string[]): Promise<void> {
  const o = parseBench('tokenise', args, { tokenizer: { type: 'string' }, files: { type: 'string' }, chat_template: { type: 'string' }, repeat: { type: 'string' }, threads: { type: 'string' }, runs: { type: 'string', default: '3' }, budget: { type: 'string', default: '16384' }, out: { type: 'string' }, help: { type: 'boolean', default: false } });
  if (o.help) return void process.stderr.write(HELP);
  const given = usual();
  const tokenizer = o.tokenizer ?? given.tokenizer;
  const files = o.files?.split(',') ?? given.files;
  const repeat = wholes('repeat', o.repeat ?? String(o.files ? 1 : given.repeat))[0]!;
  const cores = availableParallelism();
  const counts = o.threads ? wholes('threads', o.threads) : [...new Set([1, 2, 4, 8, 16].filter((n) => n <= cores))];
  const runs = wholes('runs', o.runs)[0]!;
  const budget = wholes('budget', o.budget)[0]!;
  const write = ndjsonOut(o.out);
  const emit = (record: object): void => write({ bench: 'tokenise', cores, cpu: cpus()[0]?.model ?? '', node: process.version, ...record });

  const text: TextFiles = { tokenizer, model: tokenizer, template: o.chat_template, mergeSystem: false };
  const loads: number[] = [];
  for (let i = 0; i < runs; i++) {
    const from = performance.now();
    await openText(text);
    loads.push((performance.now() - from) / 1000);
  }
  emit({ what: 'load', tokenizer, seconds: median(loads), first_seconds: loads[0] });

  const opened = await openText(text);
  async function* repeated(): AsyncGenerator<Row> {
    for (let k = 0; k < repeat; k++) for (const file of files) yield* rows(file);
  }
  const build = (count: number): Promise<TokenStore> => TokenStore.build({
    files, rows: repeated, format: 'auto', ...opened, tokenization: 'edpo', sides: 2, maxLength: 1024, maxPromptLength: 512, truncation: 'drop', badRows: 'drop', vocabSize: opened.tokenizer.vocabSize, maxSamples: 0, keepText: false,
    ...(count > 1 ? { threads: { count, text } } : {}),
  });
  const lines: Line[] = [];
  let hash: string | undefined;
  let store: TokenStore | undefined;
  for (const threads of counts) {
    const seconds: number[] = [];
    const cpu: number[] = [];
    for (let i = 0; i < runs; i++) {
      store?.close();
      const used = process.cpuUsage();
      const from = performance.now();
      store = await build(threads);
      seconds.push((performance.now() - from) / 1000);
      const { user, system } = process.cpuUsage(used);
      cpu.push((user + system) / 1e6);
      if (store.hash !== (hash ??= store.hash)) throw new EdpoError(`${threads} threads gave other tokens than ${counts[0]!}`);
    }
    const tokens = store!.promptLengths.reduce((a, b) => a + b, 0) + store!.responseLengths.flat().reduce((a, b) => a + b, 0);
    const s = median(seconds);
    const line: Line = { threads, seconds: s, pairs_per_second: store!.report.rows / s, tokens_per_second: tokens / s, speedup: (lines[0]?.seconds ?? s) / s, cpu_seconds: median(cpu), rss_bytes: process.memoryUsage().rss };
    lines.push(line);
    emit({ what: 'tokenise', tokenizer, files, rows: store!.report.rows, pairs: store!.count, tokens, ...line });
  }
  process.stderr.write(`${tokenizer}: loaded in ${median(loads).toFixed(3)} s; ${store!.report.rows} rows of ${files.join(', ')}\n`);
  process.stderr.write(table([
    { head: 'threads', cell: (l: Line) => l.threads }, { head: 's', cell: (l) => l.seconds }, { head: 'pairs/s', cell: (l) => l.pairs_per_second }, { head: 'tokens/s', cell: (l) => l.tokens_per_second },
    { head: 'times one', cell: (l) => l.speedup }, { head: 'CPU s', cell: (l) => l.cpu_seconds },
  ], lines));
  packing(store!, budget, emit);
  store!.close();
}

const STEP = 32;

/** The host's time to read and pack the documents of a step. */
function packing(store: TokenStore, budget: number, emit: (record: object) => void): void {
  const reading: number[] = [];
  const packed: number[] = [];
  let count = 0;
  // The first tenth warms the compiler up.
  const steps = Math.max(1, Math.min(40, Math.floor(store.count / STEP)));
  for (let step = 0; step < steps; step++) {
    const from = performance.now();
    const documents = Array.from({ length: Math.min(STEP, store.count) }, (_, i): Document => {
      const { id, prompt, responses } = store.get(step * STEP + i);
      return { id, prompt, branches: responses };
    });
    const then = performance.now();
    const plan = planMicroBatches(documents.map((d) => ({ rows: documentRows(d), sequences: d.branches.length, id: d.id })), { rows: budget, sequences: sequenceCapacity(budget) });
    for (const bin of plan) pack(bin.map((i) => documents[i]!));
    if (step < steps / 10) continue;
    reading.push(then - from);
    packed.push(performance.now() - then);
    count += documents.reduce((n, d) => n + documentRows(d), 0);
  }
  emit({ what: 'pack', pairs: STEP, budget, rows: count / packed.length, read_ms: median(reading), pack_ms: median(packed) });
  process.stderr.write(`a step of ${STEP} pairs, ${(count / packed.length).toFixed(0)} rows: read in ${median(reading).toFixed(2)} ms, packed in ${median(packed).toFixed(2)} ms\n`);
}
