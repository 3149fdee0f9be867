import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { alpaca, arena, dir, json, lines, mt, put, questions, serve, turns } from '../helpers/benchmark.js';
import { edpo, edpoBeside, tinyFolder } from '../helpers/cli.js';
import { good } from '../helpers/judge_server.js';

put('theirs.json', alpaca(1, 'theirs'));
put('arena-theirs.jsonl', arena(1, 'gpt-4-0314'));
put('mt-theirs.jsonl', mt('theirs', [7, 5, 4, 5]));

t.test('a model answers the instructions of a baseline’s file, or a benchmark’s questions', async (t) => {
  const { server, env } = await serve(t);
  const policy = await tinyFolder(join(dir, 'policy'));
  const sampling = ['--max_new_tokens', '6', '--judge', 'openai:tester', '--model_name_or_path', policy];
  const r = await edpoBeside(['eval-winrate', '--baseline', join(dir, 'theirs.json'), ...sampling, '--n_prompts', '4', '--output_dir', join(dir, 'sampled')], env);
  t.equal(r.code, 0, r.err);
  t.match(json('sampled', 'winrate.json'), { n: 4, alpaca_eval: { n_total: 4 } });
  const own = json('sampled', 'model_outputs.json') as Array<{ instruction: string; generator: string }>;
  t.match(own, [{ instruction: 'do a', generator: policy }, {}, {}, {}]);
  const q = await edpoBeside(['eval-winrate', '--questions', questions, '--baseline', join(dir, 'arena-theirs.jsonl'), ...sampling, '--output_dir', join(dir, 'sampled-arena')], env);
  t.equal(q.code, 0, q.err);
  t.match(lines('sampled-arena', 'model_answer.jsonl')[5], { question_id: 'q5', model_id: policy, choices: [{ turns: [{}] }] });
  // What was written is read again, and stands for the same answers: nothing new is asked.
  const asked = server.seen.length;
  const re = await edpoBeside(['eval-winrate', '--questions', questions, '--outputs', join(dir, 'sampled-arena', 'model_answer.jsonl'), '--baseline', join(dir, 'arena-theirs.jsonl'), '--judge', 'openai:tester', '--output_dir', join(dir, 'sampled-arena')], env);
  t.equal(re.code, 0, re.err);
  t.equal(server.seen.length, asked);
  const templated = await tinyFolder(join(dir, 'templated'));
  writeFileSync(join(templated, 'tokenizer_config.json'), JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', chat_template: '{{ bos_token }}{% for m in messages %}{{ m.role[0] }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}a:{% endif %}' }));
  const mt = await edpoBeside(['eval-winrate', '--questions', turns, '--max_new_tokens', '6', '--judge', 'openai:tester', '--model_name_or_path', templated, '--output_dir', join(dir, 'sampled-mt')], env);
  t.equal(mt.code, 0, mt.err);
  t.match(lines('sampled-mt', 'model_answer.jsonl'), [{ question_id: 81, choices: [{ turns: [/.*/, /.*/] }] }, { question_id: 101 }]);
  t.match(json('sampled-mt', 'winrate.json'), { mt_bench: [{ model: templated }] });
  // Writing (81) at 0.7, reasoning (101) greedily: at that seed as one temperature for all gives them.
  const at = async (name: string, ...flags: string[]): Promise<Array<{ choices: Array<{ turns: string[] }> }>> => {
    const run = await edpoBeside(['eval-winrate', '--questions', turns, '--max_new_tokens', '6', '--judge', 'openai:tester', '--model_name_or_path', templated, ...flags, '--output_dir', join(dir, name)], env);
    t.equal(run.code, 0, run.err);
    return lines(name, 'model_answer.jsonl') as never;
  };
  const [byCategory, warm, greedy] = [await at('mt-category', '--category_temperatures'), await at('mt-warm', '--temperature', '0.7'), await at('mt-greedy', '--temperature', '0')];
  t.same(byCategory[0]!.choices, warm[0]!.choices);
  t.same(byCategory[1]!.choices, greedy[1]!.choices);
  t.not(JSON.stringify(byCategory[0]!.choices), JSON.stringify(greedy[0]!.choices));
  const wrong = edpo(['eval-winrate', '--questions', questions, '--baseline', join(dir, 'arena-theirs.jsonl'), ...sampling, '--category_temperatures', '--output_dir', join(dir, 'x')], { env });
  t.equal(wrong.code, 2);
  t.match(wrong.err, /category_temperatures are MT-Bench’s/);
});

t.test('a benchmark’s answers are judged while others are sampled; killed, nothing is sampled or judged twice', async (t) => {
  const out = join(dir, 'overlap');
  const answered = (): number => ['answers', 'answers-turn2'].reduce((n, f) => n + (existsSync(join(out, `${f}.ndjson`)) ? readFileSync(join(out, `${f}.ndjson`), 'utf8').split('\n').length - 2 : 0), 0);
  const sampling = ['--max_new_tokens', '40', '--batch_size', '1', '--judge', 'openai:tester', '--judge_concurrency', '1', '--output_dir', out];
  const args = ['eval-winrate', '--questions', questions, '--baseline', join(dir, 'arena-theirs.jsonl'), '--model_name_or_path', join(dir, 'policy'), ...sampling];
  const killing = new AbortController();
  let atFirst: number | undefined;
  // One request at a time: when the fifth comes, four verdicts are on disk.
  const { server, env } = await serve(t, (seen, response, n) => {
    atFirst ??= answered();
    if (n === 4) killing.abort();
    else void good(seen, response, n);
  });
  t.equal((await edpoBeside(args, env, killing.signal)).code, null);
  t.ok(atFirst! < 6, `the first question is asked with ${atFirst} of 6 answers there`);
  const [before, verdicts] = ['answers', 'annotations'].map((f) => readFileSync(join(out, `${f}.ndjson`), 'utf8'));
  t.ok(verdicts!.split('\n').length - 2 >= 3, verdicts);
  server.behaviour = good;
  const judged = server.seen.slice(0, 4).map((s) => s.text);
  const r = await edpoBeside(args, env);
  t.equal(r.code, 0, r.err);
  const whole = before!.slice(0, before!.lastIndexOf('\n') + 1);
  t.equal(readFileSync(join(out, 'answers.ndjson'), 'utf8').slice(0, whole.length), whole, 'answers are kept');
  t.same((lines('overlap', 'answers.ndjson').slice(1) as Array<{ index: number }>).map((l) => l.index).sort(), [0, 1, 2, 3, 4, 5]);
  const ids = (lines('overlap', 'annotations.ndjson').slice(1) as Array<{ id: string }>).map((l) => l.id);
  t.same([ids.length, new Set(ids).size], [12, 12], 'both games of every question, once');
  t.notOk(server.seen.slice(5).some((s) => judged.includes(s.text)), 'what was judged is not asked again');
  t.match(json('overlap', 'winrate.json'), { n: 6, arena_hard: { scores: [{}] } });

  // MT-Bench’s first turns are graded, and compared, before the second ones are sampled.
  for (const [name, more] of [['overlap-mt', []], ['overlap-pair', ['--judge_protocol', 'mt-bench', '--baseline', join(dir, 'mt-theirs.jsonl')]]] as const) {
    let there: number | undefined;
    server.behaviour = (seen, response, n) => {
      there ??= existsSync(join(dir, name, 'answers-turn2.ndjson')) ? lines(name, 'answers-turn2.ndjson').length - 1 : 0;
      void good(seen, response, n);
    };
    const run = await edpoBeside(['eval-winrate', '--questions', turns, '--model_name_or_path', join(dir, 'templated'), ...sampling.slice(0, -1), join(dir, name), ...more], env);
    t.equal(run.code, 0, run.err);
    t.ok(there! < 2, `${there} second turns are there`);
    const asked = server.seen.map((s) => s.text);
    const own = (lines(name, 'model_answer.jsonl') as Array<{ choices: Array<{ turns: string[] }> }>).map((l) => l.choices[0]!.turns);
    for (const [first, second] of own) t.ok(asked.some((text) => text.includes(first!) && text.includes(second!)), 'the second turn is shown with the first');
  }
});
