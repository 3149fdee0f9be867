import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../../errors.js';
import { boundWords, type BpeModel } from './bpe_words.js';
import { rememberSpellings, type PreTokenizerPart } from './byte_words.js';
import { findNormalizedTokens, type EncodingParts } from './normalized_tokens.js';
import { TextRefusal } from './refusal.js';
import { normaliseTokenizerJson, startsWith, type TokenizerJson } from './tokenizer_json.js';

/** Text ↔ ids with the files of a model folder; never adds special tokens by itself. */
export interface Tokenizer {
  /** Special tokens written in the text become their ids; none is added. */
  encode(text: string): number[];
  decode(ids: ArrayLike<number>, options?: { skipSpecial?: boolean }): string;
  bosId: number | undefined;
  eosId: number | undefined;
  /** Every id that ends a turn: eos, and what generation_config.json and the config name. */
  eosIds: number[];
  /** One more than the largest id. */
  vocabSize: number;
  /** The tokenizer puts BOS before a text. */
  addBos: boolean;
  /** Ids of the special tokens: control marks such as BOS, EOS and turn ends. */
  specialIds: Set<number>;
  chatTemplate: string | undefined;
  /** Names of special tokens for templates. */
  special: Record<string, string>;
  /** SHA-256 of what decides ids. */
  hash: string;
}

/** The part of the bundled class that edpo calls. */
interface Bundled extends Pick<EncodingParts, 'normalizer' | 'pre_tokenizer' | '_encode_text'> {
  encode(text: string, pair: null, options: { add_special_tokens: boolean }): Array<number | undefined>;
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  model: BpeModel & EncodingParts['model'] & { tokens_to_ids: Map<string, number>; vocab: string[] };
}
interface Bundle {
  PreTrainedTokenizer: new (json: unknown, config: unknown) => Bundled;
}

const readJson = (path: string): Record<string, unknown> => {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new InputError(`${path} is no JSON: ${(cause as Error).message}`, 'copy or download the file again');
  }
};

/** A token in a config is a string or an object with its content. */
const tokenText = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : typeof value === 'object' && value !== null ? (value as { content?: string }).content : undefined;

/**
 * Loads tokenizer.json and tokenizer_config.json of a folder. tokenizer.json alone decides the ids, as in Hugging Face's fast
 * tokenizers: the bundled per-model classes, some of which follow the older "slow" ones, are passed by.
 * @param modelDir the model's folder where that is another one: it knows end tokens, too
 */
export async function loadTokenizer(dir: string, modelDir = dir): Promise<Tokenizer> {
  const path = join(dir, 'tokenizer.json');
  if (!existsSync(path)) throw new InputError(`${dir} has no tokenizer.json`, 'save the tokenizer as a "fast" tokenizer beside the model');
  const json = readJson(path) as TokenizerJson;
  if (typeof json.model !== 'object' || json.model === null) throw new InputError(`${path} has no "model" entry, so it is no tokenizer file`, 'copy or download the file again');
  const optional = (name: string, from = dir): Record<string, unknown> => (existsSync(join(from, name)) ? readJson(join(from, name)) : {});
  const config: Record<string, unknown> = { ...optional('special_tokens_map.json'), ...optional('tokenizer_config.json') };
  // As transformers does: tokens that were added beside the file, ordinary ones.
  const known = new Set(json.added_tokens?.map((t) => t.content));
  const beside = Object.entries(optional('added_tokens.json') as Record<string, number>).filter(([content]) => !known.has(content));
  json.added_tokens = [...(json.added_tokens ?? []), ...beside.map(([content, id]) => ({ id, content, special: false, normalized: true }))];
  normaliseTokenizerJson(json);
  const hash = createHash('sha256').update(JSON.stringify([json.model, json.added_tokens, json.normalizer, json.pre_tokenizer])).digest('hex');

  const bundle = (await import(new URL('../../../vendor/tokenizers.js', import.meta.url).href)) as Bundle;
  let inner: Bundled;
  try {
    inner = new bundle.PreTrainedTokenizer(json, {});
  } catch (cause) {
    throw new InputError(`${path}: this tokenizer cannot be built: ${(cause as Error).message}`, 'edpo reads BPE, Unigram and WordPiece files as Hugging Face tokenizers write them', cause);
  }
  boundWords(inner.model);
  rememberSpellings(inner.pre_tokenizer as PreTokenizerPart | null);
  const addedTokens = json.added_tokens!;
  findNormalizedTokens(inner, addedTokens);
  const added = new Map(addedTokens.map((t) => [t.content, t.id]));
  const idOf = (text: string | undefined): number | undefined => (text === undefined ? undefined : (added.get(text) ?? inner.model.tokens_to_ids.get(text)));
  const bosId = idOf(tokenText(config['bos_token']));
  const eosId = idOf(tokenText(config['eos_token']));
  const ends = [eosId, ...[...new Set([dir, modelDir])].flatMap((d) => [optional('generation_config.json', d)['eos_token_id'], optional('config.json', d)['eos_token_id']])].flat();
  const largest = addedTokens.reduce((most, t) => Math.max(most, t.id), inner.model.vocab.length - 1);
  const templateFile = join(dir, 'chat_template.jinja');
  const template = existsSync(templateFile) ? readFileSync(templateFile, 'utf8') : defaultTemplate(config['chat_template']);
  return {
    encode: (text) => {
      const ids = text === '' ? [] : inner.encode(text, null, { add_special_tokens: false });
      if (!ids.every((id) => id !== undefined)) throw unknownCharacter(text, inner);
      return ids as number[];
    },
    // The bundled decoder refuses an empty list.
    decode: (ids, o) => ids.length === 0 ? '' : inner.decode(Array.from(ids), { skip_special_tokens: o?.skipSpecial ?? false, clean_up_tokenization_spaces: false }),
    bosId,
    eosId,
    eosIds: [...new Set(ends.filter((id): id is number => typeof id === 'number'))],
    vocabSize: largest + 1,
    addBos: bosId !== undefined && (typeof config['add_bos_token'] === 'boolean' ? config['add_bos_token'] : startsWith(json.post_processor, bosId)),
    specialIds: new Set(addedTokens.filter((t) => t.special).map((t) => t.id)),
    chatTemplate: template,
    special: Object.fromEntries(Object.keys(config).filter((k) => k.endsWith('_token')).flatMap((k) => { const s = tokenText(config[k]); return s === undefined ? [] : [[k, s]]; })),
    hash,
  };
}

/** Without an unknown token and bytes to fall back to, some characters have no id; Hugging Face's library leaves them out without a word. */
function unknownCharacter(text: string, inner: Bundled): TextRefusal {
  const found = Array.from(text).find((c) => inner.encode(c, null, { add_special_tokens: false }).includes(undefined));
  return new TextRefusal(
    `the tokenizer has no token for ${found === undefined ? 'a part of the text' : JSON.stringify(found)} and no unknown token to stand for it`,
    'characters that the tokenizer has no token for',
    'take the tokenizer that belongs to the model, or leave such texts out',
  );
}

/** `chat_template` is a string, or a list of named ones. */
function defaultTemplate(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return (value as Array<{ name: string; template: string }>).find((t) => t.name === 'default')?.template;
  return undefined;
}
