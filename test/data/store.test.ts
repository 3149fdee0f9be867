import { gzipSync } from 'node:zlib';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { detectFormat } from '../../src/model/data/formats.js';
import { datasetFiles } from '../../src/model/data/files.js';
import { epochOrder, keyedUniform } from '../../src/model/data/order.js';
import { TokenStore, type StoreOptions } from '../../src/model/data/store.js';
import { chatTemplate } from '../../src/model/text/template.js';
import { loadTokenizer, type Tokenizer } from '../../src/model/text/tokenizer.js';
import { realTest, sharedData } from '../helpers/shared.js';

/** One id per character code, BOS 1, EOS 2: ids can be read off. */
const letters = (over: Partial<Tokenizer> = {}): Tokenizer => ({
  encode: (text) => Array.from(text.replaceAll('</s>', '\u0002'), (c) => c.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...Array.from(ids)),
  bosId: 1, eosId: 2, eosIds: [2], vocabSize: 256, addBos: true, chatTemplate: undefined, special: {}, specialIds: new Set([1, 2]), hash: 'letters', ...over,
});
const options = (over: Partial<StoreOptions>): StoreOptions => ({
  files: [], format: 'auto', tokenizer: letters(), template: undefined, tokenization: 'edpo', sides: 2, maxLength: 0, maxPromptLength: 0,
  truncation: 'drop', badRows: 'auto', vocabSize: 256, maxSamples: 0, keepText: false, ...over,
});
const text = (ids: ArrayLike<number>): string => letters().decode(ids);
const folder = mkdtempSync(join(tmpdir(), 'edpo-store-test-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let files = 0;
const jsonl = (rows: unknown[], name = 'd.jsonl'): string => {
  const path = join(folder, `${files++}-${name}`);
  const body = rows.map((r) => JSON.stringify(r)).join('\n');
  writeFileSync(path, name.endsWith('.gz') ? gzipSync(body) : body);
  return path;
};

t.test('every preference shape gives the same ids', async (t) => {
  const template = chatTemplate("{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}", undefined, {});
  const user = { role: 'user', content: 'hi' };
  const answer = (content: string): unknown => ({ role: 'assistant', content });
  const shapes = [
    { prompt: [user], chosen: [answer('yes')], rejected: [answer('no')] },
    { chosen: [user, answer('yes')], rejected: [user, answer('no')] },
    { prompt: 'hi', chosen: [user, answer('yes')], rejected: [user, answer('no')] },
    { prompt: [user], chosen: [user, answer('yes')], rejected: [user, answer('no')] },
    { prompt: [user], chosen: 'yes', rejected: 'no' },
  ];
  for (const name of ['d.jsonl', 'd.jsonl.gz']) {
    const store = await TokenStore.build(options({ files: [jsonl(shapes, name)], template }));
    for (let i = 0; i < shapes.length; i++) {
      const d = store.get(i);
      t.same([text(d.prompt), ...d.responses.map(text)], ['\u0001<u>hi<a>', 'yes\u0002', 'no\u0002'], `${name} shape ${i}: BOS once, EOS not doubled`);
    }
    store.close();
  }
  const doubled = await TokenStore.build(options({ files: [jsonl(shapes)], template, tokenization: 'trl-0.13' }));
  t.equal(text(doubled.get(0).responses[0]!), 'yes\u0002\u0002', 'trl-0.13 appends EOS whatever the template wrote');
  doubled.close();
});

t.test('strings, implicit prompts and tokenised rows', async (t) => {
  const store = await TokenStore.build(options({ files: [jsonl([{ prompt: 'p:', chosen: 'ab', rejected: 'c' }, { chosen: 'Q: x A: yes', rejected: 'Q: x A: no' }])] }));
  t.equal(text(store.get(0).responses[0]!), 'ab\u0002');
  t.same([text(store.get(1).prompt), text(store.get(1).responses[0]!)], ['\u0001Q: x A:', ' yes\u0002']);
  store.close();
  const ids = await TokenStore.build(options({ files: [jsonl([{ prompt_ids: [1, 7], chosen_ids: [9], rejected_ids: [8, 3] }])] }));
  t.same([[...ids.get(0).prompt], ...ids.get(0).responses.map((r) => [...r])], [[1, 7], [9], [8, 3]], 'taken as they are');
  ids.close();
});

t.test('truncation keeps a prompt’s end, drops or cuts responses, never to nothing', async (t) => {
  const file = jsonl([{ prompt: 'abcdef', chosen: 'xy', rejected: 'uvw' }, { prompt: 'abcdef', chosen: 'x', rejected: 'u' }]);
  const cut = await TokenStore.build(options({ files: [file], maxPromptLength: 4, maxLength: 7, truncation: 'keep_start' }));
  t.same([text(cut.get(0).prompt), ...cut.get(0).responses.map(text)], ['\u0001def', 'xy\u0002', 'uvw']);
  t.equal(cut.report.promptsCut, 2);
  t.equal(cut.report.responsesCut, 1);
  cut.close();
  const drop = await TokenStore.build(options({ files: [file], maxPromptLength: 4, maxLength: 7 }));
  t.same(drop.report.dropped, { 'too long': { count: 1, first: [0] } });
  drop.close();
  await t.rejects(TokenStore.build(options({ files: [file], maxLength: 7, truncation: 'error' })), /line 1: 7 \+ 4 tokens, over max_length 7/);
  await t.rejects(TokenStore.build(options({ files: [file], maxLength: 7, truncation: 'keep_start' })), /no usable row of 2/);
});

t.test('bad rows: each with its reason and row numbers', async (t) => {
  const rows = [{ prompt: 'p', chosen: 'a', rejected: 'b' }, { prompt: 'p', chosen: '', rejected: 'b' }, { prompt: 'p', chosen: 'a', rejected: 'a' }, { prompt: 'p', chosen: 'a', rejected: '  ' }];
  const file = jsonl(rows);
  await t.rejects(TokenStore.build(options({ files: [file] })), /empty response: 2 rows \(1, 3.*\n.*identical: 1 row \(2/);
  const store = await TokenStore.build(options({ files: [file], badRows: 'drop' }));
  t.same(store.report.kept, 1);
  store.close();
});

t.test('broken files: line numbers and columns', async (t) => {
  const dir = t.testdir({
    'broken.jsonl': '{"prompt":"p","chosen":"a","rejected":"b"}\n{"prompt":\n',
    'columns.jsonl': '{"question":"p","answer":"a"}\n',
    'list.jsonl': '[1]\n',
    'object.json': '{}',
    'x.csv': 'a,b',
  });
  writeFileSync(join(dir, 'latin1.jsonl'), Buffer.from('{"prompt":"p","chosen":"a","rejected":"b"}\n{"prompt":"\xe9","chosen":"a","rejected":"b"}\n', 'latin1'));
  const build = (name: string, over = {}): Promise<TokenStore> => TokenStore.build(options({ files: [join(dir, name)], ...over }));
  await t.rejects(build('broken.jsonl'), /broken.jsonl line 2 is no JSON/);
  await t.rejects(build('columns.jsonl'), /line 1: column chosen, rejected is missing; it has question, answer/);
  await t.rejects(build('list.jsonl'), /line 1: expected an object with columns, got an array/);
  await t.rejects(build('object.json'), /expected an array of rows/);
  await t.rejects(build('latin1.jsonl'), /latin1.jsonl line 2 is not valid UTF-8/);
  await t.rejects(build('x.csv'), /expected a .jsonl, .json or .parquet file/);
  await t.rejects(TokenStore.build(options({ files: [jsonl([{ prompt_ids: [1], chosen_ids: [300], rejected_ids: [2] }])] })), /token id 300 is outside the model's vocabulary of 256/);
  await t.rejects(build('broken.jsonl', { vocabSize: 100 }), /the tokenizer has 256 ids, the model's vocabulary only 100/);
  await t.rejects(build('broken.jsonl', { tokenizer: letters({ bosId: undefined }), format: 'hh' }), /no "\\n\\nAssistant:" turn/);
  t.throws(() => datasetFiles({ name: 'org/name', split: 'train' }), /neither a file nor a folder/);
  t.throws(() => datasetFiles({ name: dir, split: 'validation' }), /name starts with "validation"/);
});

t.test('lines are split at \\n alone', async (t) => {
  const store = await TokenStore.build(options({ files: [jsonl([{ prompt: 'p\u2028q\u0085', chosen: 'a\r', rejected: 'b' }])], tokenizer: letters({ vocabSize: 10000 }), vocabSize: 10000 }));
  t.equal(store.count, 1);
  store.close();
});

t.test('epoch order: a permutation, the same for the same seed and epoch, another for another', async (t) => {
  const a = epochOrder(1000, 42, 0);
  t.same([...a].sort((x, y) => x - y), Array.from({ length: 1000 }, (_, i) => i));
  t.same([...epochOrder(1000, 42, 0)], [...a]);
  t.not([...epochOrder(1000, 42, 1)].join(), [...a].join());
  t.not([...epochOrder(1000, 43, 0)].join(), [...a].join());
  t.same([...epochOrder(5, 1, 1, false)], [0, 1, 2, 3, 4]);
  const u = Array.from({ length: 4000 }, (_, i) => keyedUniform(7, i));
  const mean = u.reduce((x, y) => x + y, 0) / u.length;
  t.ok(Math.abs(mean - 0.5) < 0.02 && Math.min(...u) >= 0 && Math.max(...u) < 1, `mean ${mean}`);
});

const mismatched = 'prompts of the two sides differ';
const identical = 'chosen and rejected are identical';
realTest('HH: the odd rows are found, exactly', async (t) => {
  const tokenizer = await loadTokenizer(sharedData('models', 'stories260K', 'hf'));
  for (const [file, want] of [
    ['helpful-base/test.jsonl.gz', { rows: 2354, [mismatched]: [168, 354, 567, 743, 960, 1011, 1166, 1307], count: 9, [identical]: [721, 2168], empty: [120, 740, 1214, 2063] }],
    ['harmless-base/test.jsonl.gz', { rows: 2312, [mismatched]: [1254, 1688, 1950, 1952, 2036], count: 5, [identical]: [], empty: [86, 516, 925, 1103] }],
  ] as const) {
    const store = await TokenStore.build(options({ files: [sharedData('hh-rlhf', ...file.split('/'))], tokenizer, vocabSize: 512 }));
    const { report } = store;
    t.equal(report.format, 'hh');
    t.equal(report.rows, want.rows);
    t.same(report.dropped[mismatched], { count: want.count, first: want[mismatched] });
    t.same(report.dropped[identical]?.first ?? [], want[identical]);
    t.same(report.dropped['empty response']!.first, want.empty);
    store.close();
  }
});

realTest('HH: the first 256 usable pairs at 512/256 tokens', async (t) => {
  const tokenizer = await loadTokenizer(sharedData('models', 'stories260K', 'hf'));
  for (const truncation of ['drop', 'keep_start'] as const) {
    const store = await TokenStore.build(options({ files: [sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz')], tokenizer, vocabSize: 512, maxLength: 512, maxPromptLength: 256, truncation, maxSamples: 256 }));
    let scored = 0;
    let rows = 0;
    for (let i = 0; i < store.count; i++) {
      const responses = store.responseLengths[i]!.reduce((a, b) => a + b, 0);
      scored += responses;
      rows += responses + store.promptLengths[i]!;
    }
    t.comment(`${truncation}: ${store.count} pairs, ${rows} rows, ${scored} scored`);
    t.equal(store.count, 256);
    store.close();
  }
});

realTest('UltraFeedback sample: identical and empty rows are named; shapes are detected', async (t) => {
  const tokenizer = await loadTokenizer(sharedData('tokenizers', 'smollm2'));
  const over = { files: [sharedData('ultrafeedback-sample', 'train.jsonl.gz')], tokenizer, vocabSize: 49152 };
  await t.rejects(TokenStore.build(options(over)), /identical: 4 rows \(306, 655, 910, 997/);
  const store = await TokenStore.build(options({ ...over, badRows: 'drop' }));
  t.equal(store.report.kept, 994);
  t.same(store.report.dropped['empty response']?.first, [478, 833]);
  store.close();
  t.equal(detectFormat({ chosen: '\n\nHuman: a\n\nAssistant: b', rejected: '' }), 'hh');
});
