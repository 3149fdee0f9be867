import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openPairRmFolder } from '../../src/model/judge/pairrm/folder.js';
import { pairrmJudge } from '../../src/model/judge/pairrm/judge.js';
import { Queue } from '../../src/model/judge/queue.js';
import type { Question } from '../../src/model/judge/types.js';
import { edpo, tinyFolder } from '../helpers/cli.js';
import { testGpu } from '../helpers/gpu.js';
import { golden, MODELS, pairRmFolder, type Stored } from '../helpers/pairrm_folder.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-pairrm-judge-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

t.test('as a judge: d(a,b) − d(b,a) decides and is antisymmetric to the bit; equal answers tie; what is no dialogue is invalid', async (t) => {
  const path = await pairRmFolder(join(dir, 'judge'));
  const judge = await pairrmJudge(path, testGpu, 128);
  const answers = ['hi!', 'the end', 'no', 'a longer answer than the other ones', '', 'well well'];
  const questions: Question[] = answers.flatMap((a, i) => answers.map((b, j) => ({ id: `${i}-${j}`, prompt: `hello ${(i + j) % 3}`, a, b })));
  questions.push({ id: 'broken', prompt: 'x', a: 'a', b: 'b', turns: [{ role: 'assistant', content: 'x' }] });
  const said = new Map<string, { verdict: string; decision: number }>();
  await judge.ask(Queue.of(questions), (id, verdict, detail) => said.set(id, { verdict, ...(detail as { decision: number }) }));
  t.equal(said.size, 37);
  t.equal(said.get('broken')!.verdict, 'invalid');
  for (const [i] of answers.entries()) for (const [j] of answers.entries()) {
    const [one, other] = [said.get(`${i}-${j}`)!, said.get(`${j}-${i}`)!];
    if (i === j) t.ok(one.verdict === 'tie' && one.decision === 0);
    else t.ok(one.decision === -other.decision && one.decision !== 0 && one.verdict === (one.decision > 0 ? 'a' : 'b'), `${one.decision}`);
  }
});

t.test('an interrupted judge ends with what is under way', async (t) => {
  const ending = new AbortController();
  const judge = await pairrmJudge(join(dir, 'judge'), testGpu, 128, ending.signal);
  let said = 0;
  await judge.ask(Queue.of(Array.from({ length: 40 }, (_, i) => ({ id: `${i}`, prompt: 'hello', a: 'a', b: 'b' }))), () => {
    said++;
    ending.abort();
  });
  t.equal(said, 32);
});

t.test('other folders are refused, with what is wrong named', async (t) => {
  const broken = (name: string, o: Parameters<typeof pairRmFolder>[2]): Promise<string> => pairRmFolder(join(dir, name), MODELS[0], o);
  const without = (part: string) => (tensors: Stored[]): Stored[] => tensors.filter((x) => !x.name.includes(part));
  for (const [path, message] of [
    [join(dir, 'nowhere'), /does not exist/],
    [await tinyFolder(join(dir, 'llama')), /is a llama; a PairRM/],
    [await broken('reranker', { config: { architectures: ['DebertaV2ForSequenceClassification'] } }), /is a DebertaV2ForSequenceClassification; a PairRM/],
    [await broken('roberta', { ranker: true, config: { model_type: 'roberta' } }), /is a pairranker on roberta; a PairRM/],
    [await broken('tasks', { config: { n_tasks: 3 } }), /n_tasks is 3/],
    [await broken('length', { config: { source_maxlength: 2 } }), /source_maxlength is 2/],
    [await broken('options', { config: { conv_kernel_size: 3, share_att_key: false, pos_att_type: 'c2p', position_biased_input: true, type_vocab_size: 2, hidden_act: 'gelu_new' } }), /share_att_key:[^]*pos_att_type:[^]*position_biased_input:[^]*type_vocab_size:[^]*hidden_act:[^]*conv_kernel_size:/],
    [await broken('silent', { config: { norm_rel_ebd: undefined, position_buckets: undefined } }), /norm_rel_ebd: edpo has layer_norm alone, got nothing \(transformers takes "none"\)[^]*position_buckets:/],
    [await broken('missing', { edit: without('head_layer.4.bias') }), /head_layer\.4\.bias: missing, expected \[1\]/],
    [await broken('extra', { edit: (x) => [...x, { name: 'lm_head.bias', shape: [2], values: new Float32Array(2) }] }), /lm_head\.bias: not a tensor of this model, \[2\]/],
    [await broken('shape', { config: { intermediate_size: 31 } }), /layer\.0\.intermediate\.dense\.weight: expected \[31, 24\] from config\.json, got \[30, 24\]/],
    [await broken('named', { ranker: true, config: { hidden_size: undefined, num_attention_heads: undefined, num_hidden_layers: undefined, intermediate_size: undefined } }), /word_embeddings\.weight: expected \[45, 1024\] from config\.json, got \[45, 24\]/],
  ] as const) t.throws(() => openPairRmFolder(path), { message, exitCode: 2 }, String(message));
  const spm = await broken('spm', {});
  rmSync(join(spm, 'tokenizer.json'));
  writeFileSync(join(spm, 'spm.model'), '');
  t.throws(() => openPairRmFolder(spm), { message: /only spm\.model, which edpo does not read/, hint: /save_pretrained/, exitCode: 2 });
});

t.test('earlier checkpoints: ranker_config.json alone, over the backbone’s config.json, and beside PairRM-hf’s own', async (t) => {
  const { limits, spec } = openPairRmFolder(await pairRmFolder(join(dir, 'today'), MODELS[0], { ranker: true }));
  const earlier = await pairRmFolder(join(dir, 'earlier'), MODELS[0], { ranker: true });
  renameSync(join(earlier, 'config.json'), join(earlier, 'ranker_config.json'));
  t.match(openPairRmFolder(earlier), { limits, spec });
  // The backbone's numbers in its own file, the ranker's in the other.
  const { architectures: _, ...numbers } = golden.models[MODELS[0]!]!.config;
  writeFileSync(join(earlier, 'config.json'), JSON.stringify({ ...numbers, model_type: 'deberta-v2' }));
  writeFileSync(join(earlier, 'ranker_config.json'), JSON.stringify({ ranker_type: 'pairranker', model_type: 'deberta', model_name: 'microsoft/deberta-v3-large', source_maxlength: 50, candidate_maxlength: 30 }));
  t.match(openPairRmFolder(earlier), { limits: { source: 50, candidate: 30 }, spec });
  const hf = await pairRmFolder(join(dir, 'hf-beside'));
  writeFileSync(join(hf, 'ranker_config.json'), '{"ranker_type":"pairranker","model_type":"deberta","source_maxlength":9}');
  t.match(openPairRmFolder(hf), { limits, spec });
  writeFileSync(join(earlier, 'ranker_config.json'), '{"ranker_type"');
  t.throws(() => openPairRmFolder(earlier), { message: /ranker_config\.json is no JSON/, exitCode: 2 });
});

t.test('eval-winrate --judge pairrm:FOLDER: two answer files; a data set with dialogues', async (t) => {
  const judge = await pairRmFolder(join(dir, 'cli'), MODELS[1], { ranker: true, config: { source_maxlength: 200, candidate_maxlength: 60 } });
  const rows = ['hello!', 'the end', 'why?', 'a', 'tell me', 'hello again'].map((instruction, i) => ({ instruction, mine: i === 3 ? 'same' : `mine ${'abc'.repeat(i)}`, theirs: i === 3 ? 'same' : `theirs ${i % 2 ? '' : 'and more'}` }));
  const file = (name: string, of: 'mine' | 'theirs'): string => {
    const path = join(dir, `${name}.json`);
    writeFileSync(path, JSON.stringify(rows.map((r) => ({ instruction: r.instruction, output: r[of], generator: name, dataset: 'test' }))));
    return path;
  };
  const out = join(dir, 'win');
  const run = edpo(['eval-winrate', '--outputs', file('model', 'mine'), '--baseline', file('base', 'theirs'), '--judge', `pairrm:${judge}`, '--output_dir', out]);
  t.equal(run.code, 0, run.err);
  const win = JSON.parse(readFileSync(join(out, 'winrate.json'), 'utf8')) as { wins: number; ties: number; losses: number; position_consistency: number; judge: string };
  t.equal(win.wins + win.ties + win.losses, 6);
  t.equal(win.ties, 1, 'equal answers');
  t.equal(win.position_consistency, 1);
  t.match(win.judge, /^pairrm:[0-9a-f]{64}$/);
  const lines = readFileSync(join(out, 'annotations.ndjson'), 'utf8').trim().split('\n').slice(1).map((l) => JSON.parse(l) as { id: string; decision: number });
  t.equal(lines.length, 12);
  const of = new Map(lines.map((l) => [l.id, l.decision]));
  for (const [id, decision] of of) t.ok(of.get(id.endsWith(':ab') ? id.replace(':ab', ':ba') : id.replace(':ba', ':ab')) === 0 - decision);

  const policy = await tinyFolder(join(dir, 'policy'));
  const tokenizer = join(policy, 'tokenizer.json');
  const letters = JSON.parse(readFileSync(tokenizer, 'utf8')) as { model: { vocab: Record<string, number> } };
  Object.assign(letters.model.vocab, { Ċ: 34, H: 35, A: 36 });
  writeFileSync(tokenizer, JSON.stringify(letters));
  const data = join(dir, 'hh.jsonl');
  writeFileSync(data, ['\n\nHuman: hello\n\nAssistant: hi\n\nHuman: why?\n\nAssistant:', '\n\nHuman: the end\n\nAssistant:'].map((p) => JSON.stringify({ chosen: `${p} a b c`, rejected: `${p} d` })).join('\n') + '\n');
  const outputs = join(dir, 'answers.jsonl');
  writeFileSync(outputs, ['well', 'no end'].map((output, index) => JSON.stringify({ index, output })).join('\n') + '\n');
  const dialogues = edpo(['eval-winrate', '--model_name_or_path', policy, '--dataset_name', data, '--outputs', outputs, '--judge', `pairrm:${judge}`, '--output_dir', join(dir, 'dialogues')]);
  t.equal(dialogues.code, 0, dialogues.err);
  const asked: Question[] = [
    { id: '0:ab', prompt: '', turns: [{ role: 'user', content: 'hello' }, { role: 'assistant', content: 'hi' }, { role: 'user', content: 'why?' }], a: 'well', b: 'a b c' },
    { id: '1:ab', prompt: 'the end', a: 'no end', b: 'a b c' },
  ];
  const want = new Map<string, unknown>();
  await (await pairrmJudge(judge, testGpu, 512)).ask(Queue.of(asked), (id, winner, detail) => want.set(id, { winner, decision: detail!['decision'] }));
  for (const line of readFileSync(join(dir, 'dialogues', 'annotations.ndjson'), 'utf8').trim().split('\n').slice(1)) {
    const { id, winner, decision } = JSON.parse(line) as { id: string; winner: string; decision: number };
    if (want.has(id)) t.same({ winner, decision }, want.get(id), id);
    t.not(decision, 0);
  }
  // MT-Bench's pairs: the second turn is asked with the first, each side's own.
  const bench = (name: string, rows: object[]): string => {
    const path = join(dir, name);
    writeFileSync(path, rows.map((r) => JSON.stringify(r)).join('\n') + '\n');
    return path;
  };
  const answersOf = (id: string, turns: string[]): string => bench(`${id}.jsonl`, [{ question_id: 81, answer_id: id, model_id: id, choices: [{ index: 0, turns }], tstamp: 1 }]);
  const mt = edpo(['eval-winrate', '--outputs', answersOf('mine', ['hi', 'well']), '--baseline', answersOf('base', ['no', 'a b c']), '--questions', bench('question.jsonl', [{ question_id: 81, category: 'writing', turns: ['hello', 'why?'] }]),
    '--judge', `pairrm:${judge}`, '--judge_protocol', 'mt-bench', '--output_dir', join(dir, 'mt')]);
  t.equal(mt.code, 0, mt.err);
  want.clear();
  await (await pairrmJudge(judge, testGpu, 512)).ask(Queue.of<Question>([{ id: 'x', prompt: 'why?', a: 'well', b: 'a b c', earlier: [{ prompt: 'hello', a: 'hi', b: 'no' }] } as Question]), (id, winner, detail) => want.set(id, { winner, decision: detail!['decision'] }));
  const second = readFileSync(join(dir, 'mt', 'annotations.ndjson'), 'utf8').trim().split('\n').slice(1).map((l) => JSON.parse(l) as { id: string; winner: string; decision: number }).find((l) => l.id === '81#2:ab')!;
  t.same({ winner: second.winner, decision: second.decision }, want.get('x'));
  const wrong = edpo(['eval-winrate', '--outputs', file('model', 'mine'), '--baseline', file('base', 'theirs'), '--judge', `pairrm:${policy}`, '--output_dir', join(dir, 'wrong')]);
  t.equal(wrong.code, 2);
  t.match(wrong.err, /is a llama; a PairRM \(DebertaV2PairRM/);
});
