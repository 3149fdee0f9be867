import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gunzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { boundWords, WordCache } from '../../src/model/text/bpe_words.js';
import { loadTokenizer, type Tokenizer } from '../../src/model/text/tokenizer.js';
import { chatTemplate } from '../../src/model/text/template.js';
import { realTest, sharedData } from '../helpers/shared.js';

for (const name of ['gpt2', 'smollm2']) {
  realTest(`${name}: ids of the golden file, truncation and padding entries ignored`, async (t) => {
    const tokenizer = await loadTokenizer(sharedData('tokenizers', name));
    const golden = JSON.parse(readFileSync(sharedData('tokenizers', name, 'golden.json'), 'utf8')) as Record<string, unknown>;
    const cases = [...list(golden['published']), ...list(golden['computed'])];
    t.ok(cases.length > 10, `${cases.length} cases`);
    for (const c of cases) t.same(tokenizer.encode(c.text), c.ids, c.text.slice(0, 40));
  });
}

interface Case { text: string; ids: number[] }
function list(value: unknown): Case[] {
  const found: Case[] = [];
  const walk = (v: unknown): void => {
    if (Array.isArray(v)) v.forEach(walk);
    else if (typeof v === 'object' && v !== null) {
      const o = v as Record<string, unknown>;
      if (Array.isArray(o['ids'])) {
        const text = typeof o['text'] === 'string' ? o['text'] : fileText(o);
        if (text !== undefined) found.push({ text, ids: o['ids'] as number[] });
      } else Object.values(o).forEach(walk);
    }
  };
  walk(value);
  return found;
}
/** Golden rows over data files name a file, a row and a field instead of repeating the text. */
function fileText(o: Record<string, unknown>): string | undefined {
  if (typeof o['file'] !== 'string' || typeof o['row'] !== 'number' || typeof o['field'] !== 'string') return undefined;
  const bytes = readFileSync(sharedData(...o['file'].replace(/^data\//, '').split('/')));
  const line = gunzipSync(bytes).toString('utf8').split('\n')[o['row']]!;
  return (JSON.parse(line) as Record<string, string>)[o['field']];
}

realTest('stories260K: golden ids, byte fallback, and text back', async (t) => {
  const tokenizer = await loadTokenizer(sharedData('models', 'stories260K', 'hf'));
  const golden = JSON.parse(readFileSync(sharedData('models', 'stories260K', 'golden.json'), 'utf8')) as { computed_here: { sequences: Array<{ text: string; ids: number[] }> } };
  for (const { text, ids } of golden.computed_here.sequences) {
    t.same([tokenizer.bosId, ...tokenizer.encode(text)], ids, text.slice(0, 30));
    t.equal(tokenizer.decode(ids, { skipSpecial: true }).trim(), text.trim());
  }
  t.ok(tokenizer.addBos && tokenizer.bosId === 1 && tokenizer.eosIds.includes(2) && tokenizer.vocabSize === 512);
});

/** A byte-level BPE small enough to write down. */
export const tinyTokenizer = (merges: unknown): Record<string, unknown> => ({
  version: '1.0', truncation: { max_length: 2, direction: 'Right', strategy: 'LongestFirst', stride: 0 }, padding: { strategy: { Fixed: 9 }, pad_id: 0 },
  added_tokens: [{ id: 5, content: '<|end|>', special: true, single_word: false, lstrip: false, rstrip: false, normalized: false }],
  normalizer: null, pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }, post_processor: null,
  decoder: { type: 'ByteLevel' },
  model: { type: 'BPE', dropout: null, unk_token: null, vocab: { a: 0, b: 1, c: 2, ab: 3, abc: 4 }, merges },
});

t.test('merges as pairs and as strings give the same ids; leftovers do not cut or pad', async (t) => {
  for (const merges of [['a b', 'ab c'], [['a', 'b'], ['ab', 'c']]]) {
    const dir = t.testdir({});
    writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(tinyTokenizer(merges)));
    writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|end|>', tokenizer_class: 'GPT2Tokenizer' }));
    const tokenizer = await loadTokenizer(dir);
    t.same(tokenizer.encode('abcab<|end|>aabc'), [4, 3, 5, 0, 4]);
    t.equal(tokenizer.eosId, 5);
    t.equal(tokenizer.vocabSize, 6);
    t.notOk(tokenizer.addBos);
  }
});

t.test('missing and broken tokenizer files', async (t) => {
  await t.rejects(loadTokenizer(t.testdir({})), /has no tokenizer.json/);
  await t.rejects(loadTokenizer(t.testdir({ 'tokenizer.json': '{' })), /is no JSON/);
});

/** Loads a tokenizer written down in a test. */
async function load(t: Test, json: unknown, config: unknown = {}, more: Record<string, unknown> = {}): Promise<Tokenizer> {
  const files = { 'tokenizer.json': json, 'tokenizer_config.json': config, ...more };
  return loadTokenizer(t.testdir(Object.fromEntries(Object.entries(files).map(([name, value]) => [name, JSON.stringify(value)]))));
}

interface Family { tokenizer: unknown; config: unknown; cases: Array<[text: string, ids: number[], decoded: string]> }
const families = JSON.parse(readFileSync(new URL('../../../test/text/families.json', import.meta.url), 'utf8')) as Record<string, Family>;
for (const [name, family] of Object.entries(families)) {
  t.test(`${name}: ids and texts as Hugging Face's tokenizers give them`, async (t) => {
    const tokenizer = await load(t, family.tokenizer, family.config);
    // Names of assertions in ASCII: some of the texts hold what TAP takes for a line end.
    for (const [i, [text, ids, decoded]] of family.cases.entries()) {
      t.same(tokenizer.encode(text), ids, `text ${i}`);
      t.equal(tokenizer.decode(ids), decoded, `text ${i} back`);
    }
  });
}

t.test('BOS: by the config where it says so, else by the post-processor; special tokens from strings and objects', async (t) => {
  const single = (first: unknown[]): unknown => ({ type: 'TemplateProcessing', single: [...first, { Sequence: { id: 'A', type_id: 0 } }], pair: [], special_tokens: { '<|end|>': { id: '<|end|>', ids: [5], tokens: ['<|end|>'] } } });
  const begins = single([{ SpecialToken: { id: '<|end|>', type_id: 0 } }]);
  const json = tinyTokenizer(['a b']);
  const bos = async (post: unknown, config: object): Promise<boolean> => (await load(t, { ...json, post_processor: post }, { bos_token: '<|end|>', ...config })).addBos;
  t.equal(await bos(begins, {}), true);
  t.equal(await bos({ type: 'Sequence', processors: [{ type: 'ByteLevel', add_prefix_space: true, trim_offsets: false }, begins] }, {}), true, 'llama-3 nests it');
  t.equal(await bos(single([]), {}), false, 'named in the table, not written');
  t.equal(await bos(null, {}), false);
  t.equal(await bos(begins, { add_bos_token: false }), false);
  t.equal(await bos(null, { add_bos_token: true }), true);
  t.equal(await bos(begins, { bos_token: null }), false, 'no BOS at all');
  const objects = await load(t, json, {}, { 'special_tokens_map.json': { eos_token: { content: '<|end|>', lstrip: false }, mask_token: { content: 'a' } }, 'generation_config.json': { eos_token_id: [4, 5] }, 'config.json': { eos_token_id: 3 } });
  t.equal(objects.eosId, 5);
  t.same(objects.eosIds, [5, 4, 3]);
  t.same(objects.special, { eos_token: '<|end|>', mask_token: 'a' }, 'all of them are variables of the template');
  t.same([...objects.specialIds], [5]);
});

t.test('nothing to decode, no token for a character, files that are none, the hash', async (t) => {
  const tokenizer = await load(t, tinyTokenizer(['a b']));
  t.equal(tokenizer.decode([]), '');
  t.same(tokenizer.encode(''), []);
  t.throws(() => tokenizer.encode('abz'), { message: /no token for "z" and no unknown token/, exitCode: 2 });
  await t.rejects(load(t, { version: '1.0' }), /has no "model" entry/);
  await t.rejects(load(t, { ...tinyTokenizer(['a b']), pre_tokenizer: { type: 'Magic' } }), /cannot be built: Unknown PreTokenizer type: Magic/);
  t.equal((await load(t, tinyTokenizer([['a', 'b']]))).hash, tokenizer.hash, 'the form of merges is no difference');
  t.not((await load(t, tinyTokenizer(['b c']))).hash, tokenizer.hash);
});

t.test('cutting a text at its marks changes nothing, and only where no merge crosses them; the cache is bounded', async (t) => {
  // Joins left to right while some merge applies: the lowest rank first, as BPE does.
  const plain = (merges: string[][]) => (word: string): string[] => {
    const parts = Array.from(word);
    for (;;) {
      const ranks = parts.slice(1).map((part, i) => merges.findIndex(([l, r]) => l === parts[i] && r === part));
      const best = Math.min(...ranks.filter((r) => r >= 0));
      if (!Number.isFinite(best)) return parts;
      const at = ranks.indexOf(best);
      parts.splice(at, 2, `${parts[at]}${parts[at + 1]}`);
    }
  };
  const inside = [['▁', 'a'], ['a', 'b'], ['▁', '▁'], ['▁a', 'b'], ['b', 'a'], ['▁▁', 'a']];
  const crossing = [...inside, ['b', '▁']];
  let seed = 3;
  const letter = (): string => 'ab▁'[(seed = (seed * 48271) % 2147483647) % 3]!;
  for (const merges of [inside, crossing]) {
    const calls: string[] = [];
    const model = { cache: new Map<string, string[]>(), merges, bpe: (word: string) => (calls.push(word), plain(merges)(word)) };
    boundWords(model);
    for (let n = 0; n < 200; n++) {
      const word = Array.from({ length: 1 + (n % 12) }, letter).join('');
      t.same(model.bpe(word), plain(merges)(word), word);
    }
    t.equal(calls.every((word) => !/[^▁]▁/.test(word)), merges === inside, 'cut before marks, or left whole');
    for (let n = 0; n < 70000; n++) model.cache.set(`w${n}`, []);
    t.ok(model.cache.size <= 65536);
    model.cache.set('x'.repeat(65), []);
    t.notOk(model.cache.has('x'.repeat(65)));
  }
});

t.test('a cache of words keeps words alone: the texts they were cut from are let go', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const cache = new WordCache<number>();
  const before = (collect(), process.memoryUsage().heapUsed);
  for (let n = 0; n < 64; n++) cache.set(Buffer.alloc(1 << 19, `${n} is a word of many letters, `).toString('latin1').slice(64, 94), n);
  const kept = (collect(), process.memoryUsage().heapUsed) - before;
  t.ok(kept < 1 << 20, `64 words of texts of 0.5 MB: ${kept} bytes`);
  t.equal(cache.size, 64);
  for (const word of ['é', '\ud800 alone', 'a word of ASCII', '日本', '😀'.repeat(20)]) t.equal(cache.set(word, 7).get(word), 7, word);
});

t.test('the bundle stands alone and carries its licence', async (t) => {
  const bundle = readFileSync(new URL('../../vendor/tokenizers.js', import.meta.url), 'utf8');
  t.match(bundle, /^\/\* Tokenizers of @xenova\/transformers 2\.17\.2.*Apache License/);
  t.same(bundle.match(/^import .*|^export .* from .*|\brequire\(.*/gm), null, 'imports nothing');
  t.match(readFileSync(new URL('../../../NOTICE', import.meta.url), 'utf8'), /TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION/);
});

t.test('templates render, override by text, and complain clearly', async (t) => {
  const own = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
  const template = chatTemplate(undefined, own, { eos_token: '</s>' })!;
  t.equal(template.render([{ role: 'user', content: 'hi' }], true), '<user>hi</s><assistant>');
  t.equal(chatTemplate('{{ messages[0].content }}', own, {})!.render([{ role: 'user', content: 'x' }], false), 'x');
  t.equal(chatTemplate(undefined, undefined, {}), undefined);
  t.throws(() => chatTemplate('nofile.jinja', own, {}), /neither a file nor a Jinja template/);
  t.throws(() => chatTemplate('{% if %}', own, {}), /does not parse/);
});

t.test('templates: variables as in transformers, a fixed day, a file, a dialogue they refuse', async (t) => {
  const render = (text: string, roles = ['user']): string => chatTemplate(text, undefined, {})!.render(roles.map((role) => ({ role, content: 'x' })), true);
  t.equal(render("{{ strftime_now('%d %b %Y') }}"), '26 Jul 2024', 'today would be other ids tomorrow');
  t.equal(render("\n{{ strftime_now('%d') }}"), '\n26', 'the text before it stays');
  t.equal(render('{% if tools is not none %}tools{% endif %}{% if documents %}documents{% endif %}-'), '-');
  t.equal(render('{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}'), 'x\n', 'blocks eat their line ends and indents');
  const dir = t.testdir({ 'chat.jinja': '<{{ messages[0].content }}>' });
  t.equal(chatTemplate(join(dir, 'chat.jinja'), 'own', {})!.render([{ role: 'user', content: 'y' }], false), '<y>');
  const alternate = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}";
  t.throws(() => render(alternate, ['user', 'user']), { message: /refuses this dialogue \(roles user, user\): roles must alternate/, reason: 'the chat template refuses the dialogue: roles must alternate', exitCode: 2 });
});

t.test('the template comes from chat_template.jinja, the config, or its list', async (t) => {
  const json = tinyTokenizer(['a b']);
  t.equal((await load(t, json, { chat_template: 'one' })).chatTemplate, 'one');
  t.equal((await load(t, json, { chat_template: [{ name: 'tool_use', template: 'no' }, { name: 'default', template: 'two' }] })).chatTemplate, 'two');
  const dir = t.testdir({ 'tokenizer.json': JSON.stringify(json), 'tokenizer_config.json': '{"chat_template":"one"}', 'chat_template.jinja': 'three' });
  t.equal((await loadTokenizer(dir)).chatTemplate, 'three');
});
