import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { edpo, edpoBeside, edpoKilled, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { pairRmFolder } from '../helpers/pairrm_folder.js';
import { realTest, sharedData } from '../helpers/shared.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-winrate-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const lines = (path: string): Array<Record<string, unknown>> => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, unknown>);

const policy = await tinyFolder(join(dir, 'policy'));
const reference = await tinyFolder(join(dir, 'reference'), 2);
const data = tinyPairs(join(dir, 'data.jsonl'), 40);
// The longer answer wins; says how long both are.
const judge = join(dir, 'judge.mjs');
writeFileSync(judge, `import { createInterface } from 'node:readline';
for await (const line of createInterface({ input: process.stdin })) {
  const { id, a, b } = JSON.parse(line);
  console.log(JSON.stringify({ id, winner: a.length > b.length ? 'a' : b.length > a.length ? 'b' : 'tie', lengths: [a.length, b.length] }));
}`);
const base = ['eval-winrate', '--model_name_or_path', policy, '--ref_model_name_or_path', reference, '--dataset_name', data, '--judge', `command:node ${judge}`, '--max_new_tokens', '12', '--batch_size', '7'];

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

t.test('a judge that fails stops the sampling; what was judged is kept', async (t) => {
  const out = join(dir, 'failing');
  const failing = join(dir, 'failing.mjs');
  writeFileSync(failing, `import { createInterface } from 'node:readline';
let n = 0;
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify({ id: JSON.parse(line).id, winner: 'tie' }));
  if (++n === 5) process.exit(3);
}`);
  const args = base.map((a) => (a.startsWith('command:') ? `command:node ${failing}` : a)).map((a, i, all) => (all[i - 1] === '--batch_size' ? '1' : a));
  const r = edpo([...args, '--output_dir', out]);
  t.equal(r.code, 1);
  t.match(r.err, /the judge "node [^"]+" ended with exit code 3; 5 verdicts are kept/);
  t.equal(lines(join(out, 'annotations.ndjson')).length, 6);
  t.ok(lines(join(out, 'answers.ndjson')).length - 1 >= 3, 'answers are kept');
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

t.test('SIGTERM while a slow judge works: it ends with what the judge has in hand, keeps it, and the same command goes on', async (t) => {
  const out = join(dir, 'interrupted');
  const slow = join(dir, 'slow.mjs');
  // Reads one line at a time, so that no more than a pipe holds is in its hand, however busy the machine.
  writeFileSync(slow, `import { readSync } from 'node:fs';
const nap = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 25);
const chunk = Buffer.alloc(16384);
let [text, n] = ['', 0];
for (;;) {
  let got = 0;
  try { got = readSync(0, chunk); } catch (error) { if (error.code !== 'EAGAIN') throw error; nap(); continue; }
  if (got === 0) break;
  text += chunk.toString('latin1', 0, got);
  for (let at; (at = text.indexOf('\\n')) >= 0; text = text.slice(at + 1)) {
    nap();
    if (++n === 5) console.error('five are judged');
    console.log(JSON.stringify({ id: JSON.parse(text.slice(0, at)).id, winner: 'tie' }));
  }
}`);
  // Answers as long as a pipe, so that most of them wait in the queue.
  const long = join(dir, 'long.jsonl');
  writeFileSync(long, Array.from({ length: 40 }, (_, index) => `${JSON.stringify({ index, output: 'x'.repeat(60_000) })}\n`).join(''));
  const args = [...base.slice(0, 3), ...base.slice(5).map((a) => (a.startsWith('command:') ? `command:node ${slow}` : a)), '--outputs', long, '--output_dir', out];
  const r = await edpoKilled(args, /five are judged/, 'SIGTERM');
  t.equal(r.code, 130, r.err);
  t.match(r.err, /interrupted; answers and verdicts so far are in/);
  const kept = lines(join(out, 'annotations.ndjson')).length - 1;
  t.ok(kept >= 5 && kept < 80, `${kept} of 80 verdicts`);
  const whole = edpo(args);
  t.equal(whole.code, 0, whole.err);
  t.equal(new Set(lines(join(out, 'annotations.ndjson')).slice(1).map((l) => l['id'])).size, 80);
});

realTest('the HH protocol: 700 single-turn prompts of helpful-base test, the real model against the chosen answers, its KL beside', async (t) => {
  const args = ['eval-winrate', '--model_name_or_path', sharedData('models', 'stories260K', 'hf'), '--dataset_name', sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), '--single_turn', 'true', '--max_prompt_length', '128'];
  const r = edpo([...args, '--ref_model_name_or_path', sharedData('models', 'stories260K-nudged', 'hf'), '--judge', `command:node ${judge}`, '--n_prompts', '6', '--max_new_tokens', '24', '--output_dir', join(dir, 'hh')]);
  t.equal(r.code, 0, r.err);
  t.match(r.err, /prompts: 700 of 2354 rows have one human turn/);
  const win = JSON.parse(readFileSync(join(dir, 'hh', 'winrate.json'), 'utf8')) as Record<string, number>;
  t.equal(win['n'], 6);
  t.ok(win['kl']! > 0 && Number.isFinite(win['kl_monte_carlo']!));
  const e = edpo(['eval-winrate', '--model_name_or_path', policy, '--dataset_name', data, '--single_turn', 'true', '--judge', `command:node ${judge}`, '--output_dir', join(dir, 'not-hh')]);
  t.equal(e.code, 2);
  t.match(e.err, /the data have no prompt to ask/);
});

realTest('the HH protocol end to end: the real model, chosen as the baseline, a PairRM-shaped judge; its KL is edpo eval’s on the same answers, also after a kill', async (t) => {
  const [model, nudged] = [sharedData('models', 'stories260K', 'hf'), sharedData('models', 'stories260K-nudged', 'hf')];
  const pairrm = await pairRmFolder(join(dir, 'pairrm'));
  const out = join(dir, 'hh-pairrm');
  const args = ['eval-winrate', '--model_name_or_path', nudged, '--ref_model_name_or_path', model, '--dataset_name', sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), '--single_turn', 'true', '--max_prompt_length', '96', '--n_prompts', '8', '--max_new_tokens', '20', '--judge', `pairrm:${pairrm}`];
  await edpoKilled([...args, '--output_dir', out], /answers [1-7]\/8|adapter:/);
  const r = edpo([...args, '--output_dir', out]);
  t.equal(r.code, 0, r.err);
  const win = JSON.parse(readFileSync(join(out, 'winrate.json'), 'utf8')) as Record<string, number>;
  t.match(win, { n: 8, invalid: 0, position_consistency: 1, judge: /^pairrm:[0-9a-f]{64}$/ });
  t.equal(win['wins']! + win['ties']! + win['losses']!, 8);
  const verdicts = lines(join(out, 'annotations.ndjson')).slice(1) as Array<{ id: string; winner: string; decision: number }>;
  const by = new Map(verdicts.map((v) => [v.id, v]));
  for (const v of verdicts.filter((v) => v.id.endsWith(':ab'))) t.equal(by.get(v.id.replace(':ab', ':ba'))!.decision, -v.decision, 'antisymmetric to the bit');
  // The same answers as the chosen ones of a tokenised set.
  const answers = lines(join(out, 'answers.ndjson')).slice(1) as Array<{ index: number; ids: number[]; output: string }>;
  const whole = edpo([...args.filter((a) => a !== '--single_turn' && a !== 'true'), '--single_turn', 'true', '--output_dir', join(dir, 'hh-pairrm-again')]);
  t.equal(whole.code, 0, whole.err);
  t.same(lines(join(dir, 'hh-pairrm-again', 'answers.ndjson')).slice(1).map((a) => a['output']).sort(), answers.map((a) => a.output).sort(), 'a killed run has the same answers');
  const prompts = JSON.parse(readFileSync(join(out, 'model_outputs.json'), 'utf8')) as Array<{ instruction: string; output: string }>;
  const tokenizer = await loadTokenizer(model);
  const samples = join(dir, 'hh-samples.jsonl');
  const cut = (ids: number[]): number[] => (ids.length <= 96 ? ids : [ids[0]!, ...ids.slice(ids.length - 95)]);
  const rows = prompts.map((p, i) => ({ prompt: [1, ...tokenizer.encode(`\n\nHuman: ${p.instruction}\n\nAssistant:`)], ids: answers.sort((a, b) => a.index - b.index)[i]!.ids }));
  writeFileSync(samples, rows.map((row) => `${JSON.stringify({ prompt_ids: cut(row.prompt[1] === 1 ? row.prompt.slice(1) : row.prompt), chosen_ids: row.ids, rejected_ids: [...row.ids, 9] })}\n`).join(''));
  const e = edpo(['eval', '--model_name_or_path', nudged, '--ref_model_name_or_path', model, '--dataset_name', samples, '--loss_type', 'epsilon_dpo', '--output_dir', join(dir, 'hh-eval')]);
  t.equal(e.code, 0, e.err);
  const ledger = lines(join(dir, 'hh-eval', 'pairs.ndjson')) as Array<Record<string, number>>;
  const mean = (f: (l: Record<string, number>) => number): number => ledger.reduce((n, l) => n + f(l), 0) / ledger.length;
  t.equal(ledger.length, 8);
  t.ok(win['kl']! > 0 && Math.abs(win['kl']! - mean((l) => l['kl_policy_ref_chosen']!)) < 1e-6, `${win['kl']} nats, edpo eval ${mean((l) => l['kl_policy_ref_chosen']!)}`);
  t.ok(Math.abs(win['kl_monte_carlo']! - mean((l) => l['policy_logps_chosen']! - l['ref_logps_chosen']!)) < 1e-5, `${win['kl_monte_carlo']} nats by the samples`);
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
