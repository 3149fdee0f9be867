import { createHash } from 'node:crypto';
import type { Tokenizer } from '../text/tokenizer.js';
import type { TokenStore } from './store.js';

/** How often lengths fall into [0, 15], [16, 31], [32, 63], … tokens. */
export interface LengthHistogram {
  p50: number;
  p90: number;
  p99: number;
  max: number;
  bins: Array<{ from: number; to: number; count: number }>;
}

/** What stands out in a tokenised split: numbers of documents (positions in the file from 0 are listed, eight at most). */
export interface TokenAudit {
  documents: number;
  lengths: { prompt: LengthHistogram; chosen: LengthHistogram; rejected?: LengthHistogram };
  findings: Record<string, { count: number; rows: number[] }>;
  /** Documents whose chosen response has more tokens; with ties counted half. */
  chosen_longer: number | null;
  /** Rows of an epoch: prompts once a pair (edpo), and padded to the longest of eight with the prompt once a response (what most trainers run). */
  rows: number;
  padded_rows: number;
}

const LISTED = 8;

export function lengthHistogram(lengths: ArrayLike<number>): LengthHistogram {
  const sorted = Float64Array.from(lengths).sort();
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]!;
  const bins: LengthHistogram['bins'] = [];
  for (let from = 0; from <= sorted.at(-1)!; from = from === 0 ? 16 : 2 * from) bins.push({ from, to: from === 0 ? 15 : 2 * from - 1, count: 0 });
  for (const n of sorted) bins[n < 16 ? 0 : Math.floor(Math.log2(n)) - 3]!.count++;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: sorted.at(-1)!, bins };
}

/** Rows that a padded trainer would run an epoch: every response with its own copy of the prompt, all as long as the longest of a batch of eight. */
export function paddedRows(store: TokenStore, branches: number): number {
  let padded = 0;
  for (let i = 0; i < store.count; i += 8) {
    const group = Array.from({ length: Math.min(8, store.count - i) }, (_, k) => store.promptLengths[i + k]! + Math.max(...store.responseLengths[i + k]!));
    padded += Math.max(...group) * group.length * branches;
  }
  return padded;
}

/** Reads every document once. @param rowsOf rows that edpo runs for document i */
export function auditTokens(store: TokenStore, tokenizer: Tokenizer, rowsOf: (i: number) => number): TokenAudit {
  const findings: TokenAudit['findings'] = {};
  const found = (what: string, id: number): void => {
    const f = (findings[what] ??= { count: 0, rows: [] });
    f.count++;
    if (f.rows.length < LISTED) f.rows.push(id);
  };
  const ends = new Set(tokenizer.eosIds);
  const pairs = new Set<string>();
  const prompts = new Set<string>();
  let longer = 0;
  let rows = 0;
  for (let i = 0; i < store.count; i++) {
    const { id, prompt, responses } = store.get(i);
    const starts = tokenizer.bosId === undefined ? 1 : prompt.filter((x) => x === tokenizer.bosId).length;
    if (starts > 1) found('BOS more than once in the prompt', id);
    if (starts === 0 && tokenizer.addBos) found('no BOS, which the tokenizer adds', id);
    responses.forEach((r) => {
      if (r.some((x) => x === tokenizer.bosId)) found('BOS in a response', id);
      if (ends.size > 0 && !ends.has(r.at(-1)!)) found('a response without an end token', id);
      if (r.length > 1 && ends.has(r.at(-1)!) && ends.has(r.at(-2)!)) found('two end tokens after a response', id);
      if (r.slice(0, -2).some((x) => ends.has(x))) found('an end token inside a response', id);
    });
    const hash = (lists: Uint32Array[]): string => lists.reduce((h, l) => h.update(Uint32Array.of(l.length)).update(l), createHash('sha256')).digest('base64');
    const [whole, asked] = [hash([prompt, ...responses]), hash([prompt])];
    if (pairs.has(whole)) found('a copy of an earlier row', id);
    else if (prompts.has(asked)) found('a prompt of an earlier row with other responses', id);
    pairs.add(whole);
    prompts.add(asked);
    if (responses.length === 2) longer += responses[0]!.length > responses[1]!.length ? 1 : responses[0]!.length === responses[1]!.length ? 0.5 : 0;
    rows += rowsOf(i);
  }
  const side = (s: number): LengthHistogram => lengthHistogram(store.responseLengths.map((l) => l[s]!));
  return {
    documents: store.count,
    lengths: { prompt: lengthHistogram(store.promptLengths), chosen: side(0), ...(store.sides === 2 ? { rejected: side(1) } : {}) },
    findings, chosen_longer: store.sides === 2 ? longer : null, rows, padded_rows: paddedRows(store, store.sides),
  };
}

const BAR = 40;

/** The audit as lines for people. */
export function auditLines(a: TokenAudit): string[] {
  const histogram = (name: string, h: LengthHistogram): string[] => {
    const most = Math.max(...h.bins.map((b) => b.count));
    const width = String(h.bins.at(-1)!.to).length;
    return [
      `${name}: half within ${h.p50} tokens, 90 % within ${h.p90}, 99 % within ${h.p99}, the longest ${h.max}`,
      ...h.bins.map((b) => `  ${String(b.from).padStart(width)}–${String(b.to).padEnd(width)} ${String(b.count).padStart(7)} ${'█'.repeat(Math.ceil((BAR * b.count) / most))}`),
    ];
  };
  const { prompt, chosen, rejected } = a.lengths;
  return [
    ...histogram('prompts', prompt), ...histogram('chosen', chosen), ...(rejected ? histogram('rejected', rejected) : []),
    ...(a.chosen_longer === null ? [] : [`chosen is the longer response in ${((100 * a.chosen_longer) / a.documents).toFixed(1)} % (ties half)`]),
    `rows an epoch: ${a.rows}; a padded trainer would run ${a.padded_rows} (${(a.padded_rows / a.rows).toFixed(2)} times as many)`,
    ...Object.entries(a.findings).map(([what, { count, rows }]) => `found: ${what}: ${count} (rows ${rows.join(', ')}${count > rows.length ? ', …' : ''})`),
    ...(Object.keys(a.findings).length === 0 ? ['found: nothing odd (BOS once, one end token, no copies)'] : []),
  ];
}
