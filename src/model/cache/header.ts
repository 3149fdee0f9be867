import { EdpoError } from '../../errors.js';

/** First line of a reference cache: what the numbers below it were made from. No time, host or path, so equal inputs give equal bytes. */
export interface CacheHeader {
  format: 'edpo-ref-cache';
  version: 1;
  split: string;
  pairs: number;
  /** SHA-256 of weights, tokenizer, template and token ids. */
  weights: string;
  tokenizer: string;
  template: string;
  data: string;
  max_length: number;
  max_prompt_length: number;
  truncation_mode: string;
  tokenization: string;
  /** logps: label log-probs alone; hidden: final-norm states of the scored rows too. */
  stores: 'logps' | 'hidden';
  hidden_dtype: 'float32' | 'float16' | null;
  /** Log-probs of mismatched pairs too (KTO); absent where not. */
  mismatched?: true;
  width: number;
  /** How the reference's weights were kept, where that changed them (4-bit matrices, say). */
  storage?: string;
  /** What decides the last bits of a forward pass. */
  kernels: KernelFields;
}

export interface KernelFields {
  adapter: string;
  driver: string;
  back_end: string;
  arithmetic: string;
  head_tile: number | string;
  table_split: number | string;
  /** The revision of the forward pass's kernels (gpu/forward_shaders.ts). */
  shaders: string;
}

/** Kernel fields of a cache in parts from several adapters: where they differ, all values. Ties with any one of them are not exact. */
export function joinedKernels(parts: KernelFields[]): KernelFields {
  const values = (k: keyof KernelFields): Array<number | string> => [...new Set(parts.map((p) => p[k]))];
  const first = parts[0]!;
  return Object.fromEntries((Object.keys(first) as Array<keyof KernelFields>).map((k) => [k, values(k).length === 1 ? first[k] : values(k).join(' + ')])) as unknown as KernelFields;
}

/** Fields in which two headers differ, kernel fields apart. */
export function headerDifferences(got: CacheHeader, want: CacheHeader): { fields: string[]; kernels: string[] } {
  const differ = (a: object, b: object, skip: string[]): string[] =>
    [...new Set([...Object.keys(b), ...Object.keys(a)])].filter((k) => !skip.includes(k) && JSON.stringify((a as Record<string, unknown>)[k]) !== JSON.stringify((b as Record<string, unknown>)[k]));
  return { fields: differ(got, want, ['kernels']), kernels: differ(got.kernels ?? {}, want.kernels, []) };
}

const MEANING: Record<string, string> = {
  weights: 'the weights of another reference model', tokenizer: 'another tokenizer', template: 'another chat template', data: 'other data (or other truncation)',
  pairs: 'another number of pairs', storage: 'weights kept in another format (load_in_4bit, load_in_8bit, base_dtype)', stores: 'other quantities', hidden_dtype: 'another format of hidden states',
};

/** Refuses a cache of something else, naming the field. A cache with hidden states or mismatched pairs serves methods that need less. */
export function requireSame(got: CacheHeader, want: CacheHeader, path: string): { kernels: string[] } {
  const { fields, kernels } = headerDifferences(got, want);
  const needed = fields.filter((f) => !((f === 'stores' || f === 'hidden_dtype') && got.stores === 'hidden' && want.stores === 'logps') && !(f === 'mismatched' && got.mismatched));
  if (needed.length === 1 && needed[0] === 'mismatched') {
    throw new EdpoError(`${path} has no log-probs of mismatched pairs, which kto needs`, { exitCode: 2, hint: 'another --ref_cache folder (edpo precompute-ref --loss_type epsilon_dpo,kto serves all methods), or --ref_mode live' });
  }
  if (needed.length > 0) {
    const field = needed[0] as keyof CacheHeader;
    throw new EdpoError(
      `${path} was made with ${MEANING[field] ?? `another ${field}`}: ${needed.map((f) => `${f} is ${short(got[f as keyof CacheHeader])}, this run has ${short(want[f as keyof CacheHeader])}`).join('; ')}`,
      { exitCode: 2, hint: 'choose another --ref_cache folder, or delete this one and let it be made again' },
    );
  }
  return { kernels };
}
const short = (v: unknown): string => (v === undefined ? 'as the files have them' : typeof v === 'string' && v.length > 24 ? `${v.slice(0, 12)}…` : JSON.stringify(v));
