import t from 'tap';
import type { Example } from '../../src/model/data/formats.js';
import { tokenise, type Tokenization } from '../../src/model/data/tokenise.js';
import { truncate } from '../../src/model/data/truncate.js';
import { chatTemplate } from '../../src/model/text/template.js';
import { letters } from './letters.js';

const BOS = '\u0001';
const EOS = '\u0002';
const END = '\u0003';
/** [prompt, ...responses] as text, ids being character codes: 1 BOS, 2 EOS, 3 another special token, a turn's end. */
function show(example: Example, o: { template?: string; tokenization?: Tokenization; tokenizer?: Parameters<typeof letters>[0] } = {}): string[] {
  const tokenizer = letters(o.tokenizer);
  const { prompt, responses } = tokenise(example, { tokenizer, template: chatTemplate(o.template, undefined, {}), tokenization: o.tokenization ?? 'edpo' }, 'row 0');
  return [prompt, ...responses].map((ids) => tokenizer.decode(ids));
}
const text: Example = { kind: 'text', prompt: 'p', chosen: 'a', rejected: 'b' };
const chat: Example = { kind: 'chat', prompt: [{ role: 'user', content: 'p' }], chosen: [{ role: 'assistant', content: 'a' }], rejected: [{ role: 'assistant', content: 'b' }] };
/** A template whose turns end with `end`, begun with `begin`. */
const turns = (end: string, begin = ''): string => `${begin}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}${end}{% endfor %}{% if add_generation_prompt %}a:{% endif %}`;

t.test('BOS exactly once', async (t) => {
  t.same(show(text), [`${BOS}p`, `a${EOS}`, `b${EOS}`]);
  t.same(show(text, { tokenizer: { addBos: false } }), ['p', `a${EOS}`, `b${EOS}`], 'not where the tokenizer adds none');
  t.same(show({ ...text, prompt: `${BOS}p` }), [`${BOS}p`, `a${EOS}`, `b${EOS}`], 'the text has one');
  t.same(show(chat, { template: turns(EOS, BOS) }), [`${BOS}u:p${EOS}a:`, `a${EOS}`, `b${EOS}`], 'the template wrote one');
  t.same(show(chat, { template: turns(EOS) })[0], `${BOS}u:p${EOS}a:`, 'the template wrote none');
  t.same(show({ ...text, chosen: `${BOS}a` })[1], `a${EOS}`, 'none in a response');
  t.same(show({ ...text, prompt: '' }, { tokenizer: { addBos: false } })[0], BOS, 'an empty prompt needs something to predict from');
});

t.test('EOS after a response, unless its turn is ended', async (t) => {
  t.same(show({ ...text, chosen: `a${EOS}` })[1], `a${EOS}`);
  t.same(show(chat, { template: turns(`${EOS}\n`) })[1], `a${EOS}\n`, 'with a line end behind it');
  t.same(show(chat, { template: turns(`${END}\n`) })[1], `a${END}\n`, 'another turn end that the template wrote');
  t.same(show({ ...text, chosen: `a${END}` })[1], `a${END}${EOS}`, 'but not one that stands in plain text');
  t.same(show({ ...text, chosen: `a${END}` }, { tokenizer: { eosIds: [2, 3] } })[1], `a${END}`, 'unless generation_config.json names it');
  t.same(show(chat, { template: turns('') })[1], `a${EOS}`, 'the template ends no turn');
  t.same(show(text, { tokenizer: { eosId: undefined, eosIds: [] } })[1], 'a', 'no EOS at all');
});

t.test('trl-0.13: no BOS but the template’s, EOS always', async (t) => {
  const tokenization = 'trl-0.13';
  t.same(show(text, { tokenization }), ['p', `a${EOS}`, `b${EOS}`]);
  t.same(show({ ...text, chosen: `a${EOS}` }, { tokenization })[1], `a${EOS}${EOS}`);
  t.same(show(chat, { tokenization, template: turns(`${EOS}\n`, BOS) }), [`${BOS}u:p${EOS}\na:`, `a${EOS}\n${EOS}`, `b${EOS}\n${EOS}`]);
});

t.test('one side; ids; texts without prompt and BOS', async (t) => {
  t.same(show({ kind: 'text', prompt: 'p', chosen: 'a' }), [`${BOS}p`, `a${EOS}`]);
  t.same(show({ kind: 'text', prompt: '', chosen: 'abc' }), [BOS, `abc${EOS}`]);
  t.same(show({ kind: 'text', prompt: '', chosen: 'abc' }, { tokenizer: { bosId: undefined, addBos: false } }), ['a', `bc${EOS}`], 'the first token is predicted by nothing');
  t.same(show({ ...text, prompt: '' }, { tokenizer: { bosId: undefined, addBos: false } })[0], '', 'a pair is refused later');
  t.same(show({ kind: 'ids', prompt: [65], chosen: [66, 1], rejected: [2, 2] }), ['A', `B${BOS}`, `${EOS}${EOS}`], 'taken as they are');
});

t.test('templates that cannot be used', async (t) => {
  t.throws(() => show(chat), { message: /row 0: a dialogue \(list of messages\), but the tokenizer has no chat_template/, hint: /--chat_template/ });
  t.throws(() => show(chat, { template: '{{ messages|length }}{% if add_generation_prompt %}?{% endif %}' }), /row 0: the chat template's text with the answer does not begin with its text of the prompt/);
});

t.test('a prompt keeps its end, and its BOS where that is known', async (t) => {
  const cut = (bosId: number | undefined, maxPromptLength: number): number[] => {
    const r = truncate({ prompt: [1, 10, 11, 12], responses: [[20], [21]] }, { maxLength: 0, maxPromptLength, mode: 'drop', bosId });
    return 'ids' in r ? r.ids.prompt : [];
  };
  t.same(cut(1, 3), [1, 11, 12]);
  t.same(cut(undefined, 3), [10, 11, 12], 'as the official code');
  t.same(cut(1, 1), [12], 'no room for both');
  t.same(cut(1, 4), [1, 10, 11, 12]);
});
