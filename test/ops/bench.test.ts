import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { kernelCases } from '../../bench/kernels_cases.js';
import { blockInputs, difference, type Job, type Named, type System } from '../../bench/peers_js_case.js';
import { blockSpec, edpoSystem } from '../../bench/peers_js_edpo.js';
import { peerSizes } from '../../bench/peers_js.js';
import { peerCases, race } from '../../bench/peers_js_race.js';
import { visiblePairs } from '../../bench/step_profile.js';
import { table } from '../../bench/table.js';
import { pack } from '../../src/model/batch/pack.js';
import { finiteDifference } from '../helpers/finite_diff.js';
import { testGpu } from '../helpers/gpu.js';
import { hiddenStates } from '../reference/transformer.js';

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
    t.ok(rated(/^matmul\.(tiled_)?nt/) && rated(/^attention\.(tiled_)?fwd/) && rated(/^attention\.(bwd|tiled)_dkv/));
    t.ok(kernels.some((k) => /^adamw/.test(String(k['kernel'])) && k['gbps']! > 0));
  }
});

t.test('paths: a line for each, timed beside all of them or named as not taken', async (t) => {
  const size = ['--runs', '1', '--hidden', '16', '--layers', '1', '--vocab', '40', '--pairs', '2', '--length', '24'];
  const { status, stdout, stderr } = bench('paths', '--paths', 'replay,by_fours,swiglu_product', ...size);
  t.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n').map((l) => JSON.parse(l) as Record<string, unknown>);
  t.same(lines.map((l) => l['path']).sort(), ['by_fours', 'replay', 'swiglu_product']);
  const of = (path: string): Record<string, unknown> => lines.find((l) => l['path'] === path)!;
  t.match(of('swiglu_product'), { taken: false, dtype: 'float32' }, 'in f32 there is none');
  for (const path of ['by_fours', 'replay']) {
    const { ms, all_ms, of_all } = of(path) as Record<string, number>;
    t.ok(ms! > 0 && Math.abs(ms! / all_ms! - of_all!) < 1e-12, path);
  }
  t.equal(of('replay')['dispatches'], of('replay')['all_dispatches'], 'the same work');
  t.match(stderr, /swiglu_product +not taken here/);
  const lora = bench('step', ...size, '--warm', '1', '--lora_r', '3');
  t.equal(lora.status, 0, lora.stderr);
  t.match(JSON.parse(lora.stdout.split('\n')[0]!), { bench: 'step', lora_r: 3 }, 'adapters of that rank');
  const refused = bench('paths', '--paths', 'late_reading,by_fives', ...size);
  t.equal(refused.status, 2);
  t.match(refused.stderr, /--paths late_reading, by_fives: expected some of attention_matrix, .*\nhint: npm run bench -- paths --help/s);
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
    [['peers_js', '--shapes', '8x8'], /--shapes 8x8: expected ROWSxOUTPUTSxINPUTS/], [['peers_js', '--blocks', '1x8x10x4'], /width of 10 is not a multiple of 4 heads/], [['peers_js', '--systems', 'onnx'], /--systems onnx: expected some of jax-js,tfjs/],
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

t.test('peers_js: without the libraries edpo’s part runs, and what is missing is named', async (t) => {
  const { status, stdout, stderr } = bench('peers_js', '--runs', '1', '--shapes', '9x8x12', '--blocks', '2x5x8x2', '--libraries', t.testdir());
  t.equal(status, 0, stderr);
  const [top, ...lines] = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, number | string>);
  t.same(lines.map((l) => [l['what'], l['system']]), ['matmul nt', 'matmul nn', 'matmul tn', 'block forward', 'block with gradients'].map((what) => [what, 'edpo']));
  const flops = [...new Array<number>(3).fill(2 * 9 * 8 * 12), ...[1, 3].map((passes) => passes * (2 * 10 * 12 * 64 + 4 * 8 * 2 * 15))];
  lines.forEach((l, i) => {
    t.ok(Math.abs((l['gflops'] as number) * (l['ms'] as number) * 1e6 / flops[i]! - 1) < 1e-9);
    t.ok(Math.abs((l['share'] as number) / ((l['gflops'] as number) / (top!['gflops'] as number)) - 1) < 1e-9);
  });
  t.match(stderr, /jax-js: left out, @jax-js\/jax is not installed \(npm ci .*bench\/peers\/js\)\ntfjs: left out, @tensorflow\/tfjs is not installed/);
});

t.test('peers_js: edpo’s block and its gradients in GPT-2’s layout are the f64 twin’s', async (t) => {
  const gpu = await testGpu();
  const c = { B: 2, T: 7, D: 12, H: 3, F: 48, backward: true };
  const { dy, ...inputs } = blockInputs(c, 5);
  const job = edpoSystem(gpu, '').block(c, { ...inputs, dy: dy! });
  await job.run(2);
  const found = await job.results();
  job.destroy();
  const spec = blockSpec(c);
  const { D } = c;
  /** The twin's output for these tensors; [in, out] turned, and q, k, v apart. */
  const twin = (at: (name: string, i: number) => number): number[] => {
    const turned = (name: string, rows: number, width: number, all = rows, first = 0): Float64Array => Float64Array.from({ length: rows * width }, (_, i) => at(name, (i % width) * all + first + Math.floor(i / width)));
    const plain = (name: string, n: number, first = 0): Float64Array => Float64Array.from({ length: n }, (_, i) => at(name, first + i));
    const layer = 'transformer.h.0.';
    const w: Record<string, Float64Array> = { 'transformer.wte.weight': plain('x', c.B * c.T * D), 'transformer.ln_f.weight': plain('ln_f.weight', D), 'transformer.ln_f.bias': plain('ln_f.bias', D) };
    for (const name of ['ln_1.weight', 'ln_1.bias', 'ln_2.weight', 'ln_2.bias', 'attn.c_proj.bias', 'mlp.c_proj.bias']) w[`${layer}${name}`] = plain(name, D);
    ['query', 'key', 'value'].forEach((part, i) => {
      w[`${layer}attn.${part}.weight`] = turned('attn.c_attn.weight', D, D, 3 * D, i * D);
      w[`${layer}attn.${part}.bias`] = plain('attn.c_attn.bias', D, i * D);
    });
    w[`${layer}attn.c_proj.weight`] = turned('attn.c_proj.weight', D, D);
    w[`${layer}mlp.c_fc.weight`] = turned('mlp.c_fc.weight', c.F, D);
    w[`${layer}mlp.c_fc.bias`] = plain('mlp.c_fc.bias', c.F);
    w[`${layer}mlp.c_proj.weight`] = turned('mlp.c_proj.weight', D, c.F);
    return Array.from({ length: c.B }, (_, b) => hiddenStates(spec, w, Array.from({ length: c.T }, (_, i) => b * c.T + i)).flatMap((row) => [...row])).flat();
  };
  const y = Float32Array.from(twin((name, i) => inputs[name]![i]!));
  t.ok(difference({ y: found['y']! }, { y }).difference < 1e-6);
  t.same(Object.keys(found).sort(), ['y', ...Object.keys(inputs).map((name) => `d ${name}`)].sort());
  for (const name of Object.keys(inputs)) {
    // Along one direction through the whole tensor, so that a place mistaken for another shows.
    const direction = Float64Array.from(inputs[name]!, (_, i) => Math.sin(1 + 3 * i));
    const along = ([s]: ArrayLike<number> & Iterable<number>): number => twin((at, i) => inputs[at]![i]! + (at === name ? s! * direction[i]! : 0)).reduce((sum, v, i) => sum + v * dy![i]!, 0);
    const [slope] = finiteDifference(along, [0], 1e-4);
    const got = found[`d ${name}`]!.reduce((sum, v, i) => sum + v * direction[i]!, 0);
    const scale = Math.hypot(...found[`d ${name}`]!) * Math.hypot(...direction);
    t.ok(Math.abs(got - slope!) < 1e-5 * scale, `d ${name}: ${got}, ${slope}`);
  }
});

t.test('peers_js: sizes usual on every kind of adapter, and those asked for', async (t) => {
  for (const kind of ['hardware', 'software', 'embedded'] as const) {
    const { shapes, blocks } = peerSizes({ shapes: '', blocks: '' }, kind);
    t.same(shapes[0], [512, 512, 512]);
    t.ok(shapes.length > 1 && blocks.length > 0);
  }
  t.same(peerSizes({ shapes: '3x4x5', blocks: '1x2x6x3,2x2x2x1' }, 'hardware'), { shapes: [[3, 4, 5]], blocks: [[1, 2, 6, 3], [2, 2, 2, 1]] });
});

t.test('peers_js: what differs from edpo’s results, or fails, has no figure', async (t) => {
  const fake = (name: string, y: () => Float32Array): System => {
    const job = (): Job => ({ run: async () => undefined, results: async (): Promise<Named> => ({ y: y() }), destroy: () => undefined });
    return { name, version: '', product: job, block: job, close: () => undefined };
  };
  const [c] = peerCases([[2, 2, 2]], []);
  const right = Float32Array.of(1, 2, 3, 4);
  const raced = await race(c!, [fake('edpo', () => right), fake('near', () => right.map((v) => v * (1 + 5e-5))), fake('far', () => right.map((v, i) => v + (i === 3 ? 1e-3 : 0))), fake('lacks', () => { throw new Error('no gradient of tanh\nand more'); })], 1);
  t.same(raced.map((r) => [r.system, Number.isFinite(r.ms), r.reason?.replace(/ by .* of/, ' by … of')]), [
    ['edpo', true, undefined], ['near', true, undefined], ['far', false, 'y differs from edpo\'s by … of its norm, more than 0.0001'], ['lacks', false, 'no gradient of tanh'],
  ]);
  await t.rejects(race(c!, [fake('edpo', () => { throw new Error('broken'); })], 1), /broken/);
  t.equal(difference({ y: Float32Array.of(3, 5) }, { y: Float32Array.of(3, 4) }).difference, 0.2);
  t.same(difference({ y: right }, { y: right, 'd x': right }), { tensor: 'd x', difference: Infinity });
  t.equal(difference({ y: Float32Array.of(NaN, 1) }, { y: Float32Array.of(1, 1) }).difference, Infinity);
  t.equal(difference({ y: right }, { y: right }).difference, 0);
});
