import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { tokenise } from '../../src/model/data/tokenise.js';
import { TextRefusal } from '../../src/model/text/refusal.js';
import { stopIds } from '../../src/model/text/stop_ids.js';
import { chatTemplate, type Message } from '../../src/model/text/template.js';
import { loadTokenizer, type Tokenizer } from '../../src/model/text/tokenizer.js';
import { letters } from '../data/letters.js';

type Case = [dialogue: number, addGenerationPrompt: boolean, text: string | { refused: string }];
const golden = JSON.parse(readFileSync('test/goldens/templates.json', 'utf8')) as { dialogues: Message[][]; templates: Record<string, { template: string; special: Record<string, string>; cases: Case[] }> };
const tokenizers = JSON.parse(readFileSync('test/text/families.json', 'utf8')) as Record<string, { tokenizer: unknown; config: object }>;
const templateOf = (name: string) => chatTemplate(undefined, golden.templates[name]!.template, golden.templates[name]!.special)!;

for (const [name, { cases }] of Object.entries(golden.templates)) {
  t.test(`${name}: as transformers renders it; an answer is what follows the prompt`, async (t) => {
    const template = templateOf(name);
    for (const [n, add, want] of cases) {
      const dialogue = golden.dialogues[n]!;
      if (typeof want !== 'string') {
        t.throws(() => template.render(dialogue, add), { constructor: TextRefusal, message: new RegExp(want.refused.replace(/[/.]/g, '.')) });
        continue;
      }
      t.equal(template.render(dialogue, add), want, `dialogue ${n}${add ? ', prompted' : ''}`);
      if (dialogue.at(-1)!.role !== 'assistant' || add) continue;
      const [prompt, chosen] = [dialogue.slice(0, -1), dialogue.slice(-1)];
      const ids = tokenise({ kind: 'chat', prompt, chosen, rejected: [{ role: 'assistant', content: 'no' }] }, { tokenizer: letters({ eosId: undefined, eosIds: [], addBos: false }), template, tokenization: 'edpo' }, 'row');
      const shown = (list: number[]): string => String.fromCharCode(...list).replaceAll('\u0002', '</s>');
      t.equal(shown(ids.prompt), template.render(prompt, true), 'the prompt ends with the generation prompt');
      t.equal(shown([...ids.prompt, ...ids.responses[0]!]), want, 'and with the answer is the whole');
    }
  });
}

async function tokenizerOf(t: Test, name: string, config: object, generation?: object): Promise<Tokenizer> {
  const family = tokenizers[name]!;
  const dir = t.testdir({});
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(family.tokenizer));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ ...family.config, ...config }));
  if (generation) writeFileSync(join(dir, 'generation_config.json'), JSON.stringify(generation));
  return loadTokenizer(dir);
}
const pair = { kind: 'chat' as const, prompt: [{ role: 'user', content: 'the dog' }], chosen: [{ role: 'assistant', content: 'does not mind' }], rejected: [{ role: 'assistant', content: 'minds' }] };

t.test('Gemma: a turn ends with <end_of_turn>, and that and <eos> end an answer, whether the configuration names it or not', async (t) => {
  const template = templateOf('gemma-2');
  for (const generation of [undefined, { eos_token_id: [1, 5] }]) {
    const tokenizer = await tokenizerOf(t, 'gemma (overlapping added tokens)', { bos_token: '<bos>', eos_token: '<eos>', add_bos_token: true }, generation);
    const [eos, bos, start, end] = ['<eos>', '<bos>', '<start_of_turn>', '<end_of_turn>'].map((text) => tokenizer.encode(text)[0]!) as [number, number, number, number];
    t.same([...stopIds(tokenizer, template)].sort(), [eos, end].sort());
    t.same([...stopIds(tokenizer, undefined)], generation ? [eos, end] : [eos], 'without a template only what is named');
    const { prompt, responses } = tokenise(pair, { tokenizer, template, tokenization: 'edpo' }, 'row');
    t.same(prompt.filter((id) => id === bos), [bos], 'BOS once');
    t.equal(prompt.filter((id) => id === start).length, 2);
    t.equal(tokenizer.decode(prompt), '<bos><start_of_turn>user\nthe dog<end_of_turn>\n<start_of_turn>model\n');
    t.equal(tokenizer.decode(responses[0]!), 'does not mind<end_of_turn>\n');
    t.notOk(responses.some((r) => r.includes(eos)), 'no EOS behind a turn that has ended');
  }
});

t.test('a system message where the template has no such role: refused, or by configuration put before the first user message', async (t) => {
  const { template: text, special } = golden.templates['gemma-2']!;
  const merged = chatTemplate(undefined, text, special, true)!;
  const [system, user, answer] = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hello' }, { role: 'assistant', content: 'Hi' }];
  t.throws(() => templateOf('gemma-2').render([system, user], true), { constructor: TextRefusal, message: /System role not supported/, hint: /--system_messages merge/ });
  t.equal(merged.render([system, user, answer], false), templateOf('gemma-2').render([{ role: 'user', content: 'Be brief.\n\nHello' }, answer], false));
  t.equal(merged.render([user, answer], false), templateOf('gemma-2').render([user, answer], false), 'other dialogues as they are');
  t.equal(merged.render([user, system], true), templateOf('gemma-2').render([user, system], true), 'a system message elsewhere is the template’s affair');
  t.not(merged.text, templateOf('gemma-2').text, 'a cache made the other way is another cache');
});

t.test('ChatML: <|im_end|> ends turns and answers', async (t) => {
  const template = templateOf('chatml');
  const tokenizer = await tokenizerOf(t, 'qwen2 (NFC)', { eos_token: '<|end_of_text|>' });
  const end = tokenizer.encode('<|im_end|>')[0]!;
  t.same([...stopIds(tokenizer, template)], [tokenizer.eosId, end]);
  const { prompt, responses } = tokenise(pair, { tokenizer, template, tokenization: 'edpo' }, 'row');
  t.match(tokenizer.decode(prompt), /<\|im_start\|>user\nthe dog<\|im_end\|>\n<\|im_start\|>assistant\n$/);
  t.same(responses.map((r) => tokenizer.decode(r)), ['does not mind<|im_end|>\n', 'minds<|im_end|>\n']);
});

t.test('a template that ends no turn, or refuses: what the configuration names', async (t) => {
  t.same([...stopIds(letters(), chatTemplate('{% for m in messages %}{{ m.content }}{% endfor %}', undefined, {}))], [2]);
  t.same([...stopIds(letters(), chatTemplate("{{ raise_exception('no') }}", undefined, {}))], [2]);
  t.same([...stopIds(letters(), chatTemplate('{% for m in messages %}{{ m.content }}\u0003{% endfor %}\n', undefined, {}))], [2, 3]);
});
