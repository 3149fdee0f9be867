import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import t from 'tap';
import { base, data, dir, lines, policy, reference } from '../helpers/winrate.js';
import { edpo, edpoBeside, edpoKilled } from '../helpers/cli.js';

t.test('KL on its own samples equals edpo eval’s on the same tokens; a judge’s other keys are kept', async (t) => {
  const out = join(dir, 'kl');
  const r = edpo([...base, '--output_dir', out]);
  t.equal(r.code, 0, r.err);
  const win = JSON.parse(readFileSync(join(out, 'winrate.json'), 'utf8')) as Record<string, number>;
  t.equal(win['n'], 40);
  const answers = lines(join(out, 'answers.ndjson')).slice(1) as Array<{ index: number; ids: number[]; output: string; finish: string }>;
  t.ok(answers.some((a) => a.finish === 'stop' && a.ids.at(-1) === 1) && answers.some((a) => a.finish === 'length' && a.ids.length === 12), 'the end token is among the ids');
  // The same answers as the chosen ones of a tokenised set: prompts by the tokenizer, BOS first.
  const inspected = lines(data).map((row, i) => ({ row, answer: answers.find((a) => a.index === i)! }));
  const vocab = (JSON.parse(readFileSync(join(policy, 'tokenizer.json'), 'utf8')) as { model: { vocab: Record<string, number> } }).model.vocab;
  const samples = join(dir, 'samples.jsonl');
  writeFileSync(samples, `${inspected.map(({ row, answer }) => JSON.stringify({ prompt_ids: [0, ...[...(row['prompt'] as string)].map((c) => vocab[c === ' ' ? 'Ġ' : c]!)], chosen_ids: answer.ids, rejected_ids: [...answer.ids, 7] })).join('\n')}\n`);
  const e = edpo(['eval', '--model_name_or_path', policy, '--ref_model_name_or_path', reference, '--dataset_name', samples, '--loss_type', 'epsilon_dpo', '--output_dir', join(dir, 'eval')]);
  t.equal(e.code, 0, e.err);
  const ledger = lines(join(dir, 'eval', 'pairs.ndjson')) as Array<Record<string, number>>;
  const mean = (f: (l: Record<string, number>) => number): number => ledger.reduce((n, l) => n + f(l), 0) / ledger.length;
  t.ok(Math.abs(win['kl']! - mean((l) => l['kl_policy_ref_chosen']!)) < 1e-6, `${win['kl']} nats by the policy’s distribution`);
  t.ok(Math.abs(win['kl_monte_carlo']! - mean((l) => l['policy_logps_chosen']! - l['ref_logps_chosen']!)) < 1e-6, `${win['kl_monte_carlo']} by the samples`);
  t.ok(Math.abs(win['kl_ref_policy']! - mean((l) => l['kl_ref_policy_chosen']!)) < 1e-6);
  t.ok(Math.abs(win['kl']! - win['kl_monte_carlo']!) < 4 * Math.hypot(win['kl_se']!, win['kl_monte_carlo_se']!), 'two estimates of one quantity');
  t.ok(win['kl_se']! < win['kl_monte_carlo_se']!, 'the Rao-Blackwellised one varies less');
  const verdicts = lines(join(out, 'annotations.ndjson')).slice(1);
  t.equal(verdicts.length, 80);
  for (const v of verdicts) {
    const [a, b] = v['lengths'] as [number, number];
    const [mine, theirs] = [String(v['output']).length, String(v['baseline']).length];
    t.same([a, b], String(v['id']).endsWith(':ab') ? [mine, theirs] : [theirs, mine]);
  }
  const wins = answers.filter((a) => a.output.length > (lines(data)[a.index]!['chosen'] as string).trim().length).length;
  t.equal(win['wins'], wins);
});

t.test('killed at random moments, the same command ends with the same files; nothing is judged twice', async (t) => {
  const out = join(dir, 'killed');
  const slow = base.map((a) => (a.startsWith('command:') ? `${a} slow` : a));
  for (const ms of [1200, 1600, 2000]) await edpoKilled([...slow, '--output_dir', out], ms);
  const r = edpo([...slow, '--output_dir', out]);
  t.equal(r.code, 0, r.err);
  const strip = (path: string): unknown => ({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), judge: '' });
  t.same(strip(join(out, 'winrate.json')), strip(join(dir, 'kl', 'winrate.json')));
  t.equal(readFileSync(join(out, 'model_outputs.json'), 'utf8'), readFileSync(join(dir, 'kl', 'model_outputs.json'), 'utf8'));
  for (const f of ['answers.ndjson', 'annotations.ndjson']) {
    const ids = lines(join(out, f)).slice(1).map((l) => String(l['index'] ?? l['id']));
    t.equal(new Set(ids).size, ids.length, `${f}: every one once`);
  }
});

t.test('answers from files: AlpacaEval’s form and plain lines, by instruction and by order; what is missing is named', async (t) => {
  const want = JSON.parse(readFileSync(join(dir, 'kl', 'winrate.json'), 'utf8')) as Record<string, unknown>;
  const files = ['--outputs', join(dir, 'kl', 'model_outputs.json'), '--baseline', join(dir, 'kl', 'reference_outputs.json')];
  const r = edpo([...base.slice(0, 3), ...base.slice(5), ...files, '--output_dir', join(dir, 'from-files')]);
  t.equal(r.code, 0, r.err);
  const win = JSON.parse(readFileSync(join(dir, 'from-files', 'winrate.json'), 'utf8')) as Record<string, unknown>;
  for (const key of ['n', 'wins', 'ties', 'losses', 'win_rate', 'bootstrap', 'length_controlled', 'mean_length']) t.same(win[key], want[key], key);
  t.notMatch(r.err, /^adapter:/m, 'nothing to sample, so no GPU');
  const short = join(dir, 'short.json');
  writeFileSync(short, JSON.stringify((JSON.parse(readFileSync(files[1]!, 'utf8')) as unknown[]).slice(1)));
  const e = edpo([...base.slice(0, 3), ...base.slice(5), '--outputs', short, '--output_dir', join(dir, 'short')]);
  t.equal(e.code, 2);
  t.match(e.err, /has no answer for 1 of 40 prompts \(first: row 0, "/);
  const plain = Array.from({ length: 40 }, (_, index) => ({ index, output: `answer ${index}` }));
  const bad = (rows: object[], want: RegExp): void => {
    const path = join(dir, 'bad.jsonl');
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const b = edpo([...base.slice(0, 3), ...base.slice(5), '--outputs', path, '--output_dir', join(dir, 'bad')]);
    t.equal(b.code, 2, b.err);
    t.match(b.err, want);
  };
  bad([...plain, { index: 3, output: 'again' }], /bad\.jsonl: 1 duplicate ids: id 3 \(line 4 and line 41\)/);
  bad([...plain, { index: 40, output: 'of another set' }], /1 of its 41 answers belong to none of the prompts, or come once too often \(first: .*line 41, row 40\)/);
  bad(plain.map((a) => (a.index === 5 ? { ...a, output: ' ' } : a)), /1 of 40 outputs are empty: line 6/);
  // What edpo itself sampled is judged as it is, from either of its files.
  t.ok((JSON.parse(readFileSync(files[1]!, 'utf8')) as Array<{ output: string; empty?: true }>).some((a) => a.output === '' && a.empty), 'an empty answer is marked');
  const own = edpo([...base.slice(0, 3), ...base.slice(5), '--outputs', join(dir, 'kl', 'answers.ndjson'), '--output_dir', join(dir, 'own')]);
  t.equal(own.code, 0, own.err);
});

t.test('an endpoint as the judge: --estimate sends nothing, a run asks every game once, a second run none, and the key stays out of every file', async (t) => {
  let calls = 0;
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (d) => (body += d));
    request.on('end', () => {
      calls++;
      const { messages } = JSON.parse(body) as { messages: Array<{ content: string }> };
      const content = messages.some((m) => m.content.includes('@@')) ? 'no idea' : '[[A>B]]';
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }] }));
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const env = { OPENAI_BASE_URL: `http://127.0.0.1:${(server.address() as { port: number }).port}/v1`, OPENAI_API_KEY: 'sk-secret-of-this-test' };
  const out = join(dir, 'endpoint');
  const files = ['--outputs', join(dir, 'kl', 'model_outputs.json'), '--baseline', join(dir, 'kl', 'reference_outputs.json')];
  const args = ['eval-winrate', '--model_name_or_path', policy, '--dataset_name', data, ...files, '--judge', 'openai:tester', '--judge_protocol', 'arena-hard', '--output_dir', out];
  const run = (more: string[]): ReturnType<typeof edpoBeside> => edpoBeside([...args, ...more], env);
  const estimated = await run(['--estimate', 'true']);
  t.equal(estimated.code, 0, estimated.err);
  t.match(JSON.parse(estimated.out), { questions: 80, calls: 80, cached: 0 });
  t.equal(calls, 0);
  const r = await run([]);
  t.equal(r.code, 0, r.err);
  t.equal(calls, 80);
  const win = JSON.parse(readFileSync(join(out, 'winrate.json'), 'utf8')) as Record<string, number>;
  t.equal(win['position_consistency'], 0, 'a judge that always says A contradicts itself');
  t.equal(win['ties'], 40);
  t.equal((await run([])).code, 0);
  t.equal(calls, 80, 'nothing is asked twice');
  // AlpacaEval's one game a prompt, in data of any kind.
  const hashed = [...args.slice(0, -1), join(dir, 'hashed'), '--judge_order', 'hashed'];
  t.match(JSON.parse((await edpoBeside([...hashed, '--estimate', 'true'], env)).out), { questions: 40, calls: 40 });
  const one = await edpoBeside(hashed, env);
  t.equal(one.code, 0, one.err);
  t.equal(calls, 120);
  const places = JSON.parse(readFileSync(join(dir, 'hashed', 'winrate.json'), 'utf8')) as Record<string, number>;
  t.match(places, { n: 40, ties: 0, position_consistency: null });
  t.ok(places['wins']! > 5 && places['losses']! > 5, 'a judge that always says A gives to either, as the places fall');
  const other = edpo([...base, '--judge_order', 'hashed', '--output_dir', join(dir, 'x')]);
  t.equal(other.code, 2);
  t.match(other.err, /judge_order hashed is AlpacaEval’s and needs judge: openai:MODEL/);
  for (const f of readdirSync(out)) t.notMatch(readFileSync(join(out, f), 'utf8'), /sk-secret/, f);
  t.notMatch(r.err + r.out + estimated.err, /sk-secret/);
  server.close();
});
