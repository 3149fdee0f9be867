import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { EdpoError } from '../../src/errors.js';
import { rows, type Row } from '../../src/model/data/rows.js';
import { RowWorkers, threadCount, threadsFor, threadsOfEach } from '../../src/model/data/row_threads.js';
import { TokenStore, type StoreOptions } from '../../src/model/data/store.js';
import { openText, type TextFiles } from '../../src/model/text/open.js';
import { tinyFolder } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

const THREADS = 3;
type Asked = Partial<StoreOptions> & { text: TextFiles };
const textOf = (dir: string, over: Partial<TextFiles> = {}): TextFiles => ({ tokenizer: dir, model: dir, template: undefined, mergeSystem: false, ...over });

async function build(asked: Asked, count: number): Promise<TokenStore> {
  const { text, ...over } = asked;
  const o: StoreOptions = { files: [], format: 'auto', ...(await openText(text)), tokenization: 'edpo', sides: 2, maxLength: 0, maxPromptLength: 0, truncation: 'drop', badRows: 'drop', vocabSize: 1 << 20, maxSamples: 0, keepText: false, ...over };
  return TokenStore.build({ ...o, ...(count > 1 ? { threads: { count, text } } : {}) });
}

/** Everything a store says of its data. */
function contents(s: TokenStore): unknown {
  const { ids, promptLengths, responseLengths, texts, sides, labels, hash, weightsHash, report, scores, count } = s;
  return { ids, promptLengths, responseLengths, texts, sides, labels, hash, weightsHash, report, scores, documents: Array.from({ length: count }, (_, i) => s.get(i)) };
}

/** One thread and three give the same store, or the same error. */
async function alike(t: Test, asked: Asked, what: string): Promise<unknown> {
  const of = async (count: number): Promise<{ store?: unknown; error?: unknown }> => {
    let store: TokenStore;
    try {
      store = await build(asked, count);
    } catch (e) {
      const { name, message, hint, exitCode } = e as EdpoError;
      return { error: { name, message, hint, exitCode } };
    }
    const all = contents(store);
    store.close();
    return { store: all };
  };
  const [one, several] = [await of(1), await of(THREADS)];
  t.strictSame(several, one, what);
  return one.error ?? one.store;
}

const texts = [...'the quick brown fox jumps over a lazy dog'].filter((c) => c !== ' ').join('');
/** Rows of letters; `odd` puts others among them. */
function pairs(n: number, odd: Record<number, unknown> = {}): string {
  const word = (i: number, k: number): string => Array.from({ length: 1 + ((i * 7 + k * 3) % 11) }, (_, j) => texts[(i + j * k) % texts.length]).join('');
  return Array.from({ length: n }, (_, i) => (i in odd ? (typeof odd[i] === 'string' ? odd[i] : JSON.stringify(odd[i])) : JSON.stringify({ prompt: `${word(i, 1)} ${word(i, 2)}:`, chosen: ` ${word(i, 3)}`, rejected: ` ${word(i, 4)}.` }))).join('\n');
}

const folder = t.testdir({});
const model = await tinyFolder(join(folder, 'model'));
let files = 0;
const file = (body: string): string => {
  const path = join(folder, `${files++}.jsonl`);
  writeFileSync(path, body);
  return path;
};

realTest('real pairs, bad rows among them: the same store whatever the number of threads', async (t) => {
  const hh = sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz');
  const ultra = sharedData('ultrafeedback-sample', 'train.jsonl.gz');
  const stories = textOf(sharedData('models', 'stories260K', 'hf'));
  const kept = await alike(t, { files: [hh], text: stories, maxLength: 512, maxPromptLength: 256, badRows: 'auto' }, 'HH');
  t.match(kept, { report: { dropped: { 'too long': { count: Number }, 'empty response': { count: 4 }, 'prompts of the two sides differ': { count: 9 } } } });
  await alike(t, { files: [hh], text: textOf(sharedData('tokenizers', 'gpt2')), maxLength: 100, maxPromptLength: 40, truncation: 'keep_start', tokenization: 'trl-0.13', keepText: true, maxSamples: 150 }, 'HH, first 150 usable rows, cut, with texts');
  const template = "{% if messages | length > 4 %}{{ raise_exception('too many turns') }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  await alike(t, { files: [hh, ultra], text: textOf(sharedData('tokenizers', 'smollm2'), { template }), format: 'hf', sides: 1, maxSamples: 200, badRows: 'drop' }, 'one side of UltraFeedback behind HH as plain texts');
  const chats = await alike(t, { files: [hh], text: textOf(sharedData('tokenizers', 'smollm2'), { template }), maxSamples: 200 }, 'HH in a chat template that refuses some');
  t.match(chats, { report: { dropped: { 'the chat template refuses the dialogue: too many turns': { count: Number } } } });
  t.match(await alike(t, { files: [ultra], text: stories, badRows: 'error' }, 'UltraFeedback: the error that names bad rows'), { message: /identical: 4 rows \(306, 655, 910, 997, counted from 0; the first is .* line 307\)/, exitCode: 2 });
  t.match(await alike(t, { files: [ultra], text: stories, vocabSize: 400 }, 'a tokenizer of another model'), { message: /has 512 ids, the model's vocabulary only 400/ });
});

interface Family { tokenizer: unknown; config: unknown; cases: Array<[text: string, ids: number[], decoded: string]> }
const families = JSON.parse(readFileSync('test/text/families.json', 'utf8')) as Record<string, Family>;
t.test('every kind of tokenizer, texts it has no token for among them', async (t) => {
  for (const [name, { tokenizer, config, cases }] of Object.entries(families)) {
    const dir = t.testdir({ 'tokenizer.json': JSON.stringify(tokenizer), 'tokenizer_config.json': JSON.stringify(config) });
    const body = Array.from({ length: 140 }, (_, i) => JSON.stringify({ prompt: cases[i % cases.length]![0], chosen: cases[(i + 1) % cases.length]![0], rejected: `${cases[(i + 2) % cases.length]![0]} ${i}` })).join('\n');
    const store = await alike(t, { files: [file(body)], text: textOf(dir) }, name);
    t.match(store, { report: { rows: 140 } });
  }
});

t.test('labels, lists with scores, token ids with weights, a mixture of data sets', async (t) => {
  const text = textOf(model);
  const labelled = Array.from({ length: 150 }, (_, i) => JSON.stringify({ prompt: 'ab:', completion: ` ${texts.slice(i % 20)}`, label: i % 3 === 0 })).join('\n');
  t.match(await alike(t, { files: [file(labelled)], text, sides: 'labelled' }, 'labels'), { sides: 1, labels: [true, false, false, true] });
  const lists = Array.from({ length: 150 }, (_, i) => JSON.stringify({ prompt: 'ab:', responses: [' a', ` b${texts.slice(i % 9)}`, ' c'], scores: [i % 2, i % 5, 1] })).join('\n');
  t.match(await alike(t, { files: [file(lists)], text, lists: true }, 'lists'), { report: { format: 'list', dropped: { 'a list of equal scores: there is nothing to rank': { count: Number } } } });
  t.match(await alike(t, { files: [file(lists)], text }, 'lists where pairs are wanted'), { message: /a list of responses with scores, and the method does not rank lists/, hint: '--loss_type rrhf' });
  const ids = Array.from({ length: 150 }, (_, i) => JSON.stringify({ prompt_ids: [0, 3 + (i % 9)], chosen_ids: [4, 5], rejected_ids: [6], chosen_weights: [i % 2, 0.5], rejected_weights: [i % 7 === 0 ? 0 : 1] })).join('\n');
  t.match(await alike(t, { files: [file(ids)], text, weighted: true }, 'token ids with weights'), { weightsHash: /^[0-9a-f]{64}$/, report: { dropped: { 'a response without a weighted token': { count: 22 } } } });
  const weighted = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}{% if add_generation_prompt %}a:{% endif %}";
  const turns = Array.from({ length: 150 }, (_, i) => JSON.stringify({ prompt: [{ role: 'user', content: 'x' }], chosen: [{ role: 'assistant', content: texts.slice(i % 30), weight: 1 + (i % 4) }], rejected: [{ role: 'assistant', content: 'q', weight: 1 }] })).join('\n');
  t.match(await alike(t, { files: [file(turns)], text: textOf(model, { template: weighted }), weighted: true }, 'dialogues with weights'), { report: { kept: 150 }, weightsHash: /^[0-9a-f]{64}$/ });
  const [a, b] = [file(pairs(100)), file(ids)];
  async function* mixed(): AsyncGenerator<Row> {
    let id = 1000;
    for (const [set, path] of [a, b].entries()) for await (const row of rows(path)) yield { ...row, set, id: id-- };
  }
  t.match(await alike(t, { files: [a, b], rows: mixed, text }, 'texts and token ids'), { ids: [1000, 999], report: { format: 'hf, tokenized', kept: 250 } });
});

t.test('errors: the same words, wherever they come up, and none of rows behind the last one taken', async (t) => {
  const text = textOf(model);
  const dialogue = { prompt: [{ role: 'user', content: 'a' }], chosen: [{ role: 'assistant', content: 'b' }], rejected: [{ role: 'assistant', content: 'c' }] };
  const empty = { prompt: 'a', chosen: '', rejected: 'b' };
  const cases: Array<[what: string, file: string, over: Partial<Asked>, want: RegExp]> = [
    ['a line that is no JSON', file(pairs(300, { 200: '{"prompt": "x", ', 7: empty })), {}, /line 201 is no JSON/],
    ['an error of a row before one of reading', file(pairs(300, { 150: { prompt: 'a' }, 160: '[' })), {}, /line 151: column chosen, rejected is missing; it has prompt/],
    ['a dialogue without a template', file(pairs(300, { 130: dialogue })), {}, /line 131: a dialogue \(list of messages\), but the tokenizer has no chat_template/],
    ['a template whose answer does not follow its prompt', file(pairs(300, { 130: dialogue })), { text: textOf(model, { template: '{{ messages | length }}' }) }, /line 131: the chat template's text with the answer does not begin with/],
    ['too long, as an error', file(pairs(300, { 250: { prompt: 'a'.repeat(90), chosen: 'b', rejected: 'c' } })), { truncation: 'error', maxLength: 60 }, /line 251: 91 \+ \d tokens, over max_length 60/],
    ['rows that cannot be used', file(pairs(300, { 3: empty, 299: empty, 100: { prompt: 'a', chosen: 'b', rejected: ' b ' }, 120: { prompt: 'a', chosen: 'é', rejected: 'b' } })), { badRows: 'error' }, /empty response: 2 rows \(3, 299, .* line 4\)\n.*identical: 1 row \(100, .*\n.*no token for: 1 row \(120, /],
    ['an id outside the vocabulary', file(Array.from({ length: 300 }, (_, i) => JSON.stringify({ prompt_ids: [1], chosen_ids: [i], rejected_ids: [2, 2] })).join('\n')), { vocabSize: 280 }, /line 281: token id 280 is outside the model's vocabulary of 280/],
    ['no usable row', file(pairs(100)), { maxLength: 2 }, /no usable row of 100\n.*dropped, too long: 100/],
    ['no row', file(''), {}, /no usable row of 0/],
  ];
  for (const [what, path, over, want] of cases) {
    const got = (await alike(t, { files: [path], text, ...over }, what)) as Error;
    t.match(got.message, want, what);
  }
  const first = (await alike(t, { files: [file(pairs(200, { 150: '[', 149: { prompt: 'a' } })), join(folder, 'never-opened.jsonl')], text, maxSamples: 149 }, 'rows behind the last one taken')) as { report: { kept: number; rows: number } };
  t.match(first.report, { kept: 149, rows: 149 });
});

t.test('a thread that fails ends the run in plain words; nothing is left running', async (t) => {
  const nowhere = { text: textOf(join(folder, 'nowhere')), options: { tokenization: 'edpo' as const, vocabSize: 1, maxLength: 0, maxPromptLength: 0, truncation: 'drop' as const, keepText: false } };
  const workers = new RowWorkers(2, nowhere);
  await t.rejects(workers.run({ rows: [], sides: 2 }), { constructor: EdpoError, message: /a thread that tokenises has failed: .*nowhere has no tokenizer.json/, hint: /--dataset_num_proc 1/, exitCode: 1 });
  await t.rejects(workers.run({ rows: [], sides: 2 }), /nowhere has no tokenizer.json/, 'a thread that has ended is given nothing more');
  await workers.close();
  const sound = new RowWorkers(1, { ...nowhere, text: textOf(model) });
  const row = (value: Row['value']): Row & { format: 'tokenized' } => ({ value, where: 'here', format: 'tokenized' });
  await t.rejects(sound.run({ rows: [row({ prompt: () => 1 })], sides: 2 }), { name: 'DataCloneError' });
  t.match((await sound.run({ rows: [row({ prompt_ids: [0], chosen_ids: [0], rejected_ids: [7] })], sides: 2 })).rows, [{ failure: { message: /^here: token id 7 is outside/ } }], 'what could not be sent waits for no answer');
  await sound.close();
  // A process without a word of process.exit ends only when no thread is left.
  const store = pathToFileURL(join('dist', 'src', 'model', 'data', 'store.js')).href;
  const open = pathToFileURL(join('dist', 'src', 'model', 'text', 'open.js')).href;
  for (const [name, over, want] of [['done', '', '200 kept'], ['stopped early', 'maxSamples: 5,', '5 kept'], ['an error', "truncation: 'error', maxLength: 12,", 'over max_length 12']]) {
    const script = `import { TokenStore } from ${JSON.stringify(store)}; import { openText } from ${JSON.stringify(open)};
      const text = ${JSON.stringify(textOf(model))};
      try {
        const s = await TokenStore.build({ files: [${JSON.stringify(file(pairs(200)))}], format: 'auto', ...(await openText(text)), tokenization: 'edpo', sides: 2, maxLength: 0, maxPromptLength: 0, truncation: 'drop', badRows: 'drop', vocabSize: 99, maxSamples: 0, keepText: false, ${over} threads: { count: 3, text } });
        console.log(s.count + ' kept'); s.close();
      } catch (e) { console.log(e.message); }`;
    const r = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8', timeout: 60_000 });
    t.match(r.stdout, want!, name);
    t.equal(r.status, 0, `${name!}: ends by itself`);
    t.equal(r.stderr, '', `${name!}: no noise`);
  }
});

t.test('a spelling that is kept is the spelling: words long and short, again and again', async (t) => {
  const { tokenizer } = await openText(textOf(model));
  const words = [' quick', 'quick', `${'long'.repeat(30)}`, ' a', '?!', '::', ' '];
  const once = words.map((w) => tokenizer.encode(w));
  for (let round = 0; round < 3; round++) t.same(tokenizer.encode(words.join('')), (await openText(textOf(model))).tokenizer.encode(words.join('')), 'as a tokenizer that meets them first');
  t.same(words.map((w) => tokenizer.encode(w)), once);
});

t.test('how many threads: for much text alone, never more than cores', (t) => {
  t.equal(threadCount(1), 1);
  t.equal(threadCount(1000), availableParallelism());
  t.equal(threadCount(undefined), Math.min(8, availableParallelism()));
  for (const [asked, processes, cores, each] of [[undefined, 2, 32, 8], [undefined, 4, 16, 4], [undefined, 8, 4, 1], [3, 4, 16, 3], [12, 4, 16, 4]] as const) t.equal(threadsOfEach(asked, processes, cores), each, `${processes} processes on ${cores} cores, ${asked} asked for`);
  const small = file('x'.repeat(1000));
  const large = file('x'.repeat(9 << 20));
  t.equal(threadsFor(8, [small], 0), 1, 'little text');
  t.equal(threadsFor(8, [large], 100), 1, 'few rows of much');
  t.equal(threadsFor(8, [small, large], 0), threadCount(8));
  t.equal(threadsFor(8, [large], 5000), threadCount(8));
  t.equal(threadsFor(1, [large], 0), 1);
  t.equal(threadsFor(8, [join(folder, 'none.jsonl')], 0), 1, 'a missing file is the reader’s to name');
  t.end();
});
