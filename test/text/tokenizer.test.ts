import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';
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

t.test('templates render, override by text, and complain clearly', async (t) => {
  const own = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
  const template = chatTemplate(undefined, own, { eos_token: '</s>' })!;
  t.equal(template.render([{ role: 'user', content: 'hi' }], true), '<user>hi</s><assistant>');
  t.equal(chatTemplate('{{ messages[0].content }}', own, {})!.render([{ role: 'user', content: 'x' }], false), 'x');
  t.equal(chatTemplate(undefined, undefined, {}), undefined);
  t.throws(() => chatTemplate('nofile.jinja', own, {}), /neither a file nor a Jinja template/);
  t.throws(() => chatTemplate('{% if %}', own, {}), /does not parse/);
});
