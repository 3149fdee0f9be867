/**
 * Brings a tokenizer.json into the form the bundled tokenizers read as the file means it. They are older than some of what
 * such files hold today, and go wrong silently: every change here is one that Hugging Face's own library does not need.
 */
export interface TokenizerJson {
  model?: { merges?: unknown[]; type?: string; ignore_merges?: boolean; end_of_word_suffix?: string };
  added_tokens?: AddedToken[];
  normalizer?: unknown;
  pre_tokenizer?: Part | null;
  post_processor?: Part | null;
  decoder?: Part | null;
  truncation?: unknown;
  padding?: unknown;
}
export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  normalized?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
}
/** A pre-tokenizer, post-processor or decoder, some of which hold a sequence of further ones. */
type Part = { type: string } & Record<string, unknown>;

/** Edits `json` in place. */
export function normaliseTokenizerJson(json: TokenizerJson): void {
  const { model } = json;
  // Merges as pairs (tokenizers >= 0.20): only strings are read.
  if (model?.merges && Array.isArray(model.merges[0])) model.merges = (model.merges as string[][]).map((pair) => pair.join(' '));
  // Left from somebody's last use; a trainer must neither cut nor pad.
  json.truncation = null;
  json.padding = null;
  // Added tokens are found by an alternation, which takes the first that fits; the longest must win ("\n\n\n" before "\n\n").
  json.added_tokens = [...(json.added_tokens ?? [])].sort((a, b) => b.content.length - a.content.length);
  json.pre_tokenizer = metaspace(json.pre_tokenizer ?? null, 'pretokenizers');
  json.decoder = metaspace(json.decoder ?? null, 'decoders');
  json.normalizer ??= null;
  json.post_processor ??= null;
}

/** Metaspace without `add_prefix_space` (tokenizers >= 0.19) means what its `prepend_scheme` says; `split` cuts before each mark. */
function metaspace(part: Part | null, list: 'pretokenizers' | 'decoders'): Part | null {
  if (part === null) return null;
  if (part.type === 'Sequence') return { ...part, [list]: (part[list] as Part[]).map((p) => metaspace(p, list)) };
  if (part.type !== 'Metaspace') return part;
  const whole: Part = { ...part, add_prefix_space: part['add_prefix_space'] ?? part['prepend_scheme'] !== 'never' };
  if (list === 'decoders' || part['split'] === false) return whole;
  const mark = String(part['replacement']);
  const split: Part = { type: 'Split', pattern: { Regex: `${mark}[^${mark}]*|[^${mark}]+` }, behavior: 'isolated', invert: true };
  return { type: 'Sequence', pretokenizers: [whole, split] };
}

/** Does the post-processor begin a text with this id? */
export function startsWith(part: Part | null | undefined, id: number): boolean {
  if (!part) return false;
  if (part.type === 'Sequence') return (part['processors'] as Part[]).some((p) => startsWith(p, id));
  if (part.type === 'TemplateProcessing') {
    const first = (part['single'] as Array<{ SpecialToken?: { id: string } }>)[0]?.SpecialToken?.id;
    const special = part['special_tokens'] as Record<string, { ids: number[] }>;
    return first !== undefined && special[first]?.ids[0] === id;
  }
  if (part.type === 'RobertaProcessing' || part.type === 'BertProcessing') return (part['cls'] as [string, number])[1] === id;
  return false;
}
