import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { kernelCases } from '../../bench/kernels_cases.js';
import { visiblePairs } from '../../bench/step_profile.js';
import { table } from '../../bench/table.js';
import { pack } from '../../src/model/batch/pack.js';

const bench = (...args: string[]): SpawnSyncReturns<string> =>
  spawnSync(process.execPath, [fileURLToPath(new URL('../../bench/main.js', import.meta.url)), ...args], { encoding: 'utf8' });

t.test('kernels: a line per case with rates, a ceiling from the same run, a table beside it', async (t) => {
  const { status, stdout, stderr } = bench('kernels', '--runs', '1', '--filter', '^(rms_norm|grad_norm|head gradient) \\[.*(64|32768|, 512)\\]$');
  t.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, number | string>);
  t.same(lines.map((l) => l['kernel']), ['ceiling', 'rms_norm', 'head gradient', 'grad_norm']);
  for (const l of lines) {
    t.ok((l['gflops'] as number) > 0 && (l['gbps'] as number) > 0);
    t.ok(l['adapter'] && l['driver'] !== undefined && l['toggles'] === 'production');
  }
  const [top, norm] = lines as [Record<string, number>, Record<string, number>];
  const share = Math.max(norm['gflops']! / top['gflops']!, norm['gbps']! / top['gbps']!);
  t.ok(Math.abs(norm['share']! / share - 1) < 1e-12, 'share of the nearer ceiling');
  t.match(stderr, /kernel +shape +ms +GFLOP\/s +GB\/s +share\nrms_norm/);
});

t.test('ceilings: the adapter, then figures that are rates and times', async (t) => {
  const { status, stdout, stderr } = bench('ceilings', '--runs', '1');
  t.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, number | string | unknown[]>);
  const matrices = lines[0]!['tile'] === null ? 0 : (lines[0]!['matrix_configs'] as unknown[]).length;
  t.same(lines.map((l) => l['what']), ['adapter', 'mac', ...new Array<string>(matrices).fill('mac'), 'bandwidth', 'dispatch', 'latency']);
  for (const l of lines.slice(1)) for (const [key, value] of Object.entries(l)) if (/_(gbps|us|ms)$|tflops/.test(key)) t.ok((value as number) > 0, `${key} ${String(value)}`);
  t.match(stderr, /what +figure +unit\nmultiply-add in f32/);
});

t.test('matmul: plain and matrix products with their shares', async (t) => {
  const { status, stdout, stderr } = bench('matmul', '--runs', '1', '--shapes', '32x16x24');
  t.equal(status, 0, stderr);
  const [top, ...lines] = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, number>);
  const forms = ['nt', 'nn', 'tn'].flatMap((form) => [`matmul.${form}`, ...(top!['matrix_gflops']! > 0 ? [`matmul.matrix_${form}`] : [])]);
  t.same(lines.map((l) => l['kernel']), forms);
  for (const l of lines) t.ok(Math.abs(l['share']! / (l['gflops']! / (String(l['kernel']).includes('matrix') ? top!['matrix_gflops']! : top!['plain_gflops']!)) - 1) < 1e-12);
});

t.test('pairrm: a line per length with rates and their share of the matmul', async (t) => {
  const { status, stdout, stderr } = bench('pairrm', '--hidden', '16', '--layers', '2', '--heads', '2', '--ff', '32', '--buckets', '8', '--vocab', '40', '--lengths', '9,20', '--budget', '64', '--runs', '1');
  t.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, number>);
  t.same(lines.map((l) => [l['length'], l['comparisons'], l['tokens']]), [[9, 7, 63], [20, 3, 60]]);
  for (const l of lines) {
    t.ok(l['tokens_per_second']! > 0 && l['ceiling_gflops']! > 0 && Math.abs(l['share_of_matmul']! / (l['gflops']! / l['ceiling_gflops']!) - 1) < 1e-12);
    // By hand: 2 layers, 4 D^2 + 2 D F weights a token.
    const dense = l['tokens']! * 2 * 2 * (4 * 16 * 16 + 2 * 16 * 32);
    t.ok(Math.abs((l['gflops']! * l['ms']! * 1e6 * (1 - l['attention_share']!)) / dense - 1) < 1e-9);
  }
  t.match(stderr, /tokens\/s/);
});

t.test('step: a line for the step, one per kernel; the shares are a whole', async (t) => {
  for (const args of [['--model', 'tiny', '--scale', '0.1', '--pairs', '3', '--budget', '80'], ['--layers', '1', '--hidden', '32', '--vocab', '64', '--length', '24', '--pairs', '2', '--reference', 'live', '--loss_type', 'sigmoid']]) {
    const { status, stdout, stderr } = bench('step', '--warm', '1', '--runs', '2', ...args);
    t.equal(status, 0, stderr);
    const [step, ...kernels] = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, number>) as [Record<string, number>, ...Array<Record<string, number>>];
    t.ok(step['step_ms']! > 0 && step['host_ms']! > 0 && step['matmul_gflops']! > 0);
    t.equal(step['micro_batches']! > 1, args.includes('--budget'), 'as many micro-batches as the budget asks for');
    t.ok(step['busy_ms']! > 0 && Math.abs(step['idle_share']! - (1 - step['busy_ms']! / step['span_ms']!)) < 1e-12 && step['idle_share']! >= 0);
    t.ok(Math.abs(kernels.reduce((n, k) => n + k['share']!, 0) - 1) < 1e-9);
    const rated = (name: RegExp): boolean => kernels.some((k) => name.test(String(k['kernel'])) && k['gflops']! > 0);
    t.ok(rated(/^matmul\.(tiled_)?nt/) && rated(/^attention\.fwd/) && rated(/^attention\.bwd_dkv/));
    t.ok(kernels.some((k) => /^adamw/.test(String(k['kernel'])) && k['gbps']! > 0));
  }
});

t.test('creep: a line a window, nothing made', async (t) => {
  const { status, stdout, stderr } = bench('creep', '--steps', '12', '--every', '5');
  t.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, number>);
  t.same(lines.map((l) => [l['step'], l['made']]), [[5, 0], [10, 0], [12, 0]]);
  t.ok(lines.every((l) => l['gpu_bytes'] === lines[0]!['gpu_bytes'] && l['rss_bytes']! > 0 && l['step_ms']! > 0));
  t.match(stderr, /last quarter of 12 steps over the first/);
});

t.test('the pairs attention looks at, as the packed spans say', async (t) => {
  const documents = [{ id: 0, prompt: [1, 2, 3, 4, 5], branches: [[1, 2], [3, 4, 5]] }, { id: 1, prompt: [1], branches: [[2], [3, 4]] }];
  const { span, values } = pack(documents);
  let count = 0;
  for (let i = 0; i < values.N; i++) for (let j = 0; j < values.N; j++) {
    const [promptStart, promptEnd, branchStart] = span.subarray(4 * i) as unknown as [number, number, number];
    if ((promptStart <= j && j < promptEnd) || (branchStart <= j && j <= i)) count++;
  }
  t.equal(visiblePairs(documents), count);
});

t.test('usage errors leave with 2 and a hint', async (t) => {
  for (const [args, message] of [
    [['pairrm', '--lengths', '5'], /--lengths 5/], [['kernel'], /no benchmark "kernel"/], [['kernels', '--run', '3'], /--run/], [['kernels', '--runs', '0'], /--runs 0/],
    [['peers', '--model', 'tiny'], /--tokens is missing/], [['step', '--dtype', 'bf16'], /--dtype bf16: expected float32, mixed_f16/], [['step', '--loss_type', 'kto'], /--loss_type kto/], [['step', '--runs', '0'], /--runs 0/], [['creep', '--steps', 'many'], /--steps many/], [['step', '--model', 'tiny', '--budget', '9'], /rows.*9[^]*--budget \d+/], [['peers', '--model', 'gpt', '--write', 'x'], /no "gpt"/],
    [['kernels', '--filter', 'no such op'], /fits no kernel/], [['kernels', '--toggles', 'fast'], /--toggles fast/],
  ] as const) {
    const { status, stdout, stderr } = bench(...args);
    t.equal(status, 2, stderr);
    t.match(stderr, message);
    t.equal(stdout, '');
  }
});

t.test('cases differ, and count work', async (t) => {
  const cases = kernelCases();
  t.equal(new Set(cases.map((c) => `${c.kernel} ${c.shape}`)).size, cases.length);
  t.ok(cases.every((c) => c.flops >= 0 && c.bytes > 0));
});

t.test('table: numbers to the right, three figures', async (t) => {
  const text = table([{ head: 'name', cell: (r: [string, number]) => r[0] }, { head: 'ms', cell: (r) => r[1] }], [['a', 0.01234], ['longer', 1234.5], ['b', 0]]);
  t.equal(text, 'name        ms\na       0.0123\nlonger    1235\nb            0\n');
});

t.test('peers: a line per case, a table with TRL’s lines, and a refusal of other ids', async (t) => {
  const dir = t.testdir();
  const tokens = `${dir}/tokens.jsonl`;
  t.equal(bench('peers', '--write', tokens, '--model', 'tiny', '--lengths', 'hh', '--scale', '0.05').status, 0);
  const common = ['peers', '--model', 'tiny', '--tokens', tokens, '--pairs', '2', '--warm', '1', '--steps', '1', '--dtypes', 'float32', '--methods', 'epsilon_dpo'];
  const { status, stderr } = bench(...common, '--out', `${dir}/edpo.ndjson`, '--rehearsal');
  t.equal(status, 0, stderr);
  const lines = readFileSync(`${dir}/edpo.ndjson`, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  t.same(lines.map((l) => [l['method'], l['shape'], l['skipped_steps']]), [['epsilon_dpo', 'shared', 0], ['epsilon_dpo', 'apart', 0]]);
  const [once, twice] = lines as [Record<string, number>, Record<string, number>];
  // The capacity: the more of the warm-up's step (lines 1 and 2) and the timed one (3 and 4).
  const pairs = readFileSync(tokens, 'utf8').trim().split('\n').slice(0, 4).map((line) => Object.values(JSON.parse(line) as Record<string, number[]>).map((ids) => ids.length) as [number, number, number]);
  const rows = (prompts: number): number => Math.max(...[0, 2].map((at) => pairs.slice(at, at + 2).reduce((n, [p, c, r]) => n + prompts * p + c + r, 0)));
  t.same([once['rows'], twice['rows']], [rows(1), rows(2)], 'prompts once, and twice');

  const peer = { ...lines[0], system: 'trl_tuned', batch: 2, best: true, device: 'processor', pairs_per_second: once['pairs_per_second']! / 4 };
  const write = (change: object): void => writeFileSync(`${dir}/torch.ndjson`, `${JSON.stringify({ ...peer, ...change })}\n${JSON.stringify({ ...peer, best: false, tokens_sha256: 'another batch size' })}\n`);
  write({});
  const { stdout } = bench('peers', '--join', dir);
  t.match(stdout, /^REHEARSAL on a processor/);
  t.match(stdout, /edpo float32 prompt once +epsilon_dpo .* 4\.00\n/);
  write({ tokens_sha256: 'other ids' });
  t.match(bench('peers', '--join', dir).stderr, /trl_tuned 2 of other id/);
});
