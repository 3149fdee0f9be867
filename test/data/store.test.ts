import { gzipSync } from 'node:zlib';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { detectFormat } from '../../src/model/data/formats.js';
import { datasetFiles } from '../../src/model/data/files.js';
import { epochOrder, keyedUniform } from '../../src/model/data/order.js';
import { TokenStore, type StoreOptions } from '../../src/model/data/store.js';
import { chatTemplate } from '../../src/model/text/template.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';
import { realTest, sharedData } from '../helpers/shared.js';
import { letters } from './letters.js';

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
    ['helpful-rejection-sampled/test-0000-1999.jsonl.gz', { rows: 2000, [mismatched]: [719, 1597], count: 2, [identical]: [200, 237, 285], same: 23, empty: [] }],
    ['harmless-base/test.jsonl.gz', { rows: 2312, [mismatched]: [1254, 1688, 1950, 1952, 2036], count: 5, [identical]: [], empty: [86, 516, 925, 1103] }],
  ] as const) {
    const store = await TokenStore.build(options({ files: [sharedData('hh-rlhf', ...file.split('/'))], tokenizer, vocabSize: 512 }));
    const { report } = store;
    t.equal(report.format, 'hh');
    t.equal(report.rows, want.rows);
    t.same(report.dropped[mismatched], { count: want.count, first: want[mismatched] });
    t.same((report.dropped[identical]?.first ?? []).slice(0, 3), want[identical]);
    t.equal(report.dropped[identical]?.count ?? 0, 'same' in want ? want.same : want[identical].length);
    t.same(report.dropped['empty response']?.first ?? [], want.empty);
    store.close();
  }
});

realTest('HH: the first 256 usable pairs at 512/256 tokens', async (t) => {
  const tokenizer = await loadTokenizer(sharedData('models', 'stories260K', 'hf'));
  for (const [truncation, wantRows, wantScored] of [['drop', 95514, 53278], ['keep_start', 106513, 62653]] as const) {
    const store = await TokenStore.build(options({ files: [sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz')], tokenizer, vocabSize: 512, maxLength: 512, maxPromptLength: 256, truncation, maxSamples: 256 }));
    let scored = 0;
    let rows = 0;
    for (let i = 0; i < store.count; i++) {
      const responses = store.responseLengths[i]!.reduce((a, b) => a + b, 0);
      scored += responses;
      rows += responses + store.promptLengths[i]!;
    }
    t.same([store.count, rows, scored], [256, wantRows, wantScored], truncation);
    store.close();
  }
});

t.test('files of a split', async (t) => {
  const dir = t.testdir({
    'train.jsonl': '', 'train-00000-of-00001.parquet': '', 'train_2.json.gz': '', 'train_prefs.jsonl': '', 'train.txt': '', 'test-0000-1999.jsonl.gz': '',
    prefs: { 'train_prefs-0.jsonl': '', 'train_prefs-1.jsonl': '' }, both: { 'train_prefs-0.jsonl': '', 'train_sft-0.jsonl': '' }, inner: { train: { 'x.jsonl': '', 'y.parquet': '' } }, hub: { data: { 'train-0.parquet': '' } },
    hh: { 'helpful-base': { 'test.jsonl': '' }, 'harmless-base': { 'test.jsonl': '' }, red: {} },
  });
  const names = (o: Omit<Parameters<typeof datasetFiles>[0], 'split'>, split = 'train'): string[] => datasetFiles({ ...o, split }).map((f) => f.slice(dir.length + 1));
  t.same(names({ name: dir }), ['train-00000-of-00001.parquet', 'train.jsonl', 'train_2.json.gz'], 'train_prefs is another split');
  t.same(names({ name: dir }, 'train_prefs'), ['train_prefs.jsonl']);
  t.same(names({ name: dir }, 'test'), ['test-0000-1999.jsonl.gz']);
  t.same(names({ name: join(dir, 'prefs') }), ['prefs/train_prefs-0.jsonl', 'prefs/train_prefs-1.jsonl'], 'where nothing else is there');
  t.throws(() => names({ name: join(dir, 'both') }), { message: /the split "train" may be train_prefs or train_sft/, hint: /train_prefs/ });
  t.same(names({ name: join(dir, 'inner') }), ['inner/train/x.jsonl', 'inner/train/y.parquet']);
  t.same(names({ name: join(dir, 'hub') }), ['hub/data/train-0.parquet']);
  t.same(names({ name: join(dir, 'hh'), dataDir: ['helpful-base', 'harmless-base'] }, 'test'), ['hh/helpful-base/test.jsonl', 'hh/harmless-base/test.jsonl'], 'in the order given');
  t.throws(() => names({ name: join(dir, 'hh') }, 'test'), { message: /no .jsonl, .json or .parquet file whose name starts with "test"/, hint: 'its folders have such files: --data_dir harmless-base,helpful-base' });
  t.throws(() => names({ name: join(dir, 'hh'), dataDir: ['nope'] }, 'test'), { message: /data_dir: .*nope does not exist/, hint: /harmless-base, helpful-base, red/ });
  t.same(names({ name: join(dir, 'train.jsonl') }, 'test'), ['train.jsonl'], 'a file is what it is');
  t.same(names({ name: dir, dataFiles: ['prefs/train_prefs-1.jsonl', join(dir, 'train.jsonl')] }), ['prefs/train_prefs-1.jsonl', 'train.jsonl'], 'relative to the folder, too');
  t.throws(() => names({ name: undefined, dataFiles: ['none.jsonl'] }), /data file none.jsonl does not exist/);
  t.throws(() => names({ name: undefined, dataFiles: [join(dir, 'hh')] }), { message: /hh is a folder/, hint: /--dataset_name/ });
  t.throws(() => names({ name: undefined }), /no data: neither dataset_name nor data_files/);
});

t.test('rows a template refuses, half characters and answers alike once cut are counted, not fatal', async (t) => {
  const alternate = chatTemplate("{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}", undefined, {});
  const hh = (prompt: string): unknown => ({ chosen: `${prompt}\n\nAssistant: a`, rejected: `${prompt}\n\nAssistant: b` });
  const file = jsonl([hh('\n\nHuman: x'), hh('\n\nHuman: x\n\nHuman: y'), hh('\n\nHuman: x\n\nHuman: y\n\nHuman: z')]);
  const store = await TokenStore.build(options({ files: [file], template: alternate }));
  t.same(store.report.dropped, { 'the chat template refuses the dialogue: roles must alternate': { count: 2, first: [1, 2] } });
  store.close();
  await t.rejects(TokenStore.build(options({ files: [file], template: alternate, badRows: 'error' })), /roles must alternate: 2 rows \(1, 2, counted from 0; the first is .*d.jsonl line 2\)/);
  const half = join(folder, 'half.jsonl');
  writeFileSync(half, '{"prompt":"p","chosen":"a","rejected":"b"}\n{"prompt":"p","chosen":"a\\ud83d","rejected":"b"}\n');
  await t.rejects(TokenStore.build(options({ files: [half] })), /half a surrogate pair in the text: 1 row \(1,/);
  const alike = await TokenStore.build(options({ files: [jsonl([{ prompt: 'p', chosen: 'same a', rejected: 'same b' }, { prompt: 'p', chosen: 'x', rejected: 'y' }])], maxLength: 5, truncation: 'keep_start' }));
  t.same(alike.report.dropped, { 'identical once cut to max_length': { count: 1, first: [0] } });
  alike.close();
});

t.test('the hash: the same for the same ids, another where the prompt ends elsewhere', async (t) => {
  const hash = async (row: unknown): Promise<string> => {
    const store = await TokenStore.build(options({ files: [jsonl([row])] }));
    store.close();
    return store.hash;
  };
  const row = { prompt_ids: [1, 7], chosen_ids: [9, 5], rejected_ids: [8] };
  t.equal(await hash(row), await hash(row));
  t.not(await hash({ ...row, prompt_ids: [1], chosen_ids: [7, 9, 5] }), await hash(row));
  t.not(await hash({ ...row, chosen_ids: [9], rejected_ids: [5, 8] }), await hash(row));
});

t.test('long documents, several files, a limit; nothing is left behind', async (t) => {
  const long = Array.from({ length: 300_000 }, (_, i) => i % 200);
  const temp = t.testdir({});
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = temp;
  t.teardown(() => (before === undefined ? delete process.env['TMPDIR'] : (process.env['TMPDIR'] = before)));
  const one = (n: number): unknown => ({ prompt_ids: [n], chosen_ids: [n, 1], rejected_ids: [2] });
  const store = await TokenStore.build(options({ files: [jsonl([one(5), { prompt_ids: long, chosen_ids: long, rejected_ids: [3] }]), jsonl([one(6), one(7)]), join(folder, 'never-opened.jsonl')], maxSamples: 3 }));
  t.same([...store.ids], [0, 1, 2]);
  t.same([...store.get(1).prompt], long);
  t.same([...store.get(1).responses[1]!], [3]);
  t.same([...store.get(2).prompt], [6]);
  if (process.platform !== 'win32') t.same(readdirSync(temp), [], 'no name even while it is open: a killed run leaves nothing');
  store.close();
  process.env['TMPDIR'] = join(temp, 'none');
  await t.rejects(TokenStore.build(options({ files: [jsonl([one(5)])] })), { message: /cannot write the tokenised data to .*none/, hint: /TMPDIR/, exitCode: 1 });
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
