import { existsSync, readdirSync } from 'node:fs';
import { EdpoError } from '../errors.js';
import { adapterChoices, adapterNames } from '../gpu/adapters.js';
import { openGpu, type Gpu } from '../gpu/device.js';
import { backEnd, matrixTile } from '../gpu/matrices.js';
import { matmulNT } from '../gpu/ops/matmul.js';
import { rmsNorm } from '../gpu/ops/rms_norm.js';
import { headCriterion, headStats } from '../gpu/ops/head_kernels.js';
import { Program } from '../gpu/program.js';
import { debugRead } from '../gpu/readback.js';
import { Tensor } from '../gpu/tensor.js';
import { toggleList } from '../gpu/toggles.js';
import { tune, type TriedTile } from '../gpu/tune.js';
import { writeTuned } from '../gpu/tuned.js';
import { watchCompilation } from './compiling.js';
import type { CliIo } from './io.js';
import { Progress } from './progress.js';

/** `edpo doctor`: adapter, driver, features, limits, toggles, and a few kernels against answers known beforehand. */
export async function run(o: { adapter: string; json?: boolean; tune?: boolean }, io: CliIo): Promise<number> {
  const card = nvidiaHint();
  let gpu: Gpu;
  try {
    gpu = await openGpu({ adapter: o.adapter });
  } catch (error) {
    if (card) io.say(card);
    throw error;
  }
  const choices = adapterChoices(await adapterNames());
  const checks = await knownAnswers(gpu);
  const tile = matrixTile(gpu);
  const toggles = toggleList(gpu.toggles);
  if (gpu.tuneProblem) io.warn(gpu.tuneProblem);
  const tuning = o.tune && checks.every((c) => c.ok) ? await tuneAdapter(gpu, io) : undefined;
  const report = {
    adapter: gpu.name, kind: gpu.kind, adapters: choices, driver: gpu.info.description, vendor: gpu.info.vendor, architecture: gpu.info.architecture,
    features: [...gpu.features], subgroup_sizes: [gpu.subgroupMin, gpu.subgroupMax], mixed_f16: typeof tile === 'string' ? `no: ${tile}` : backEnd(tile), limits: gpu.limits, toggles_on: toggles.enable, toggles_off: toggles.disable, tuned: gpu.tuned ?? null, without: [...gpu.without], ...(tuning ? { tune: tuning } : {}), checks,
  };
  if (o.json) io.out(JSON.stringify(report));
  else {
    io.out(`adapter    ${report.adapter} (${report.kind})`);
    if (choices.length > 1) io.out(`adapters   ${choices.map((c) => `--adapter '${c}'`).join(', ')}`);
    io.out(`driver     ${report.driver}`);
    io.out(`features   ${report.features.join(', ') || 'none beyond the core'}; subgroups of ${report.subgroup_sizes.join(' to ')}`);
    io.out(`matrices   ${report.mixed_f16}`);
    io.out(`limits     ${Object.entries(gpu.limits).map(([k, v]) => `${k} ${v}`).join(', ')}`);
    io.out(`toggles    on: ${toggles.enable.join(', ')}; off: ${toggles.disable.join(', ')}`);
    const { attention, ...products } = gpu.tuned ?? {};
    const chosen = (t: Record<string, number>): string => `${Object.values(t).join(', ')} (${Object.keys(t).join(', ')})`;
    for (const [what, t] of Object.entries(products)) io.out(`tuned      ${what} products in tiles of ${chosen(t)}`);
    for (const [C, passes] of Object.entries(attention ?? {})) for (const [pass, t] of Object.entries(passes)) io.out(`tuned      attention's ${pass} of heads of ${C} in tiles of ${chosen(t)}`);
    if (gpu.without.size > 0) io.out(`without    ${[...gpu.without].join(', ')} (EDPO_WITHOUT): plainer kernels run in their place`);
    if (tuning) io.out(`tune file  ${tuning.file}`);
    for (const c of checks) io.out(`${c.ok ? 'ok  ' : 'FAIL'}       ${c.name}: error ${c.error.toExponential(1)}, allowed ${c.allowed.toExponential(1)}`);
  }
  if (gpu.kind !== 'hardware' && card) io.say(card);
  const failed = checks.filter((c) => !c.ok);
  gpu.close();
  if (failed.length > 0) throw new EdpoError(`${failed.map((c) => c.name).join(', ')}: this adapter or driver computes wrongly`, { hint: 'try --adapter software, or another driver' });
  return 0;
}

/** An NVIDIA card that Vulkan does not reach: say what is missing. */
function nvidiaHint(): string | undefined {
  if (process.platform !== 'linux' || !(existsSync('/proc/driver/nvidia/version') || existsSync('/dev/nvidia0'))) return undefined;
  const icds = ['/etc/vulkan/icd.d', '/usr/share/vulkan/icd.d', '/usr/local/nvidia/share/vulkan/icd.d'].flatMap((d) => (existsSync(d) ? readdirSync(d).map((f) => `${d}/${f}`) : []));
  const loader = ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib', '/usr/lib/aarch64-linux-gnu'].some((d) => existsSync(`${d}/libvulkan.so.1`));
  const icd = icds.find((f) => /nvidia/i.test(f));
  if (!loader) return 'an NVIDIA card is here, but no Vulkan loader: install it (Debian and Ubuntu: apt install libvulkan1)';
  if (!icd) return 'an NVIDIA card and a Vulkan loader are here, but no nvidia_icd.json: install the driver’s Vulkan part (Debian: nvidia-vulkan-icd; in a container, NVIDIA_DRIVER_CAPABILITIES must include graphics)';
  return `an NVIDIA card, a loader and ${icd} are here; if it did not answer, set VK_DRIVER_FILES=${icd} and check that libX11, libXext and libGLX_nvidia are installed`;
}

/** Measures tiles and keeps what was found; a list of what was tried goes to stderr. */
async function tuneAdapter(gpu: Gpu, io: CliIo): Promise<{ file: string; tried: TriedTile[] }> {
  const progress = new Progress(io, 'tune', 1);
  const show = (done: number, of: number): void => progress.update(done / of, `${done} of ${of} tiles`);
  watchCompilation(gpu.compilation, io);
  const { tuned, tried } = await tune(gpu, show);
  for (const t of tried) io.say(`${t.products.padEnd(7)} ${t.tile.padEnd(16)} ${t.relative === undefined ? 'given up: much slower' : `${(100 * t.relative).toFixed(1)} % of the usual tile's time`}${t.usual ? ' (the usual one)' : ''}${t.chosen ? ' <- taken' : ''}`);
  if (tried.length === 0) io.say('nothing to tune: this adapter multiplies no f16 matrices, and its plain products are not tiled');
  gpu.tuned = tuned;
  return { file: writeTuned(gpu, tuned), tried };
}

interface Check { name: string; error: number; allowed: number; ok: boolean }

async function knownAnswers(gpu: Gpu): Promise<Check[]> {
  const tensor = (shape: number[], data: ArrayLike<number>, type: 'f32' | 'u32' = 'f32'): Tensor => {
    const t = new Tensor(gpu, 'doctor', shape, type);
    t.write(type === 'u32' ? Uint32Array.from(data) : Float32Array.from(data));
    return t;
  };
  const check = (name: string, got: ArrayLike<number>, want: number[], allowed: number): Check => {
    const error = Math.max(...want.map((w, i) => (Number.isFinite(got[i]!) ? Math.abs(got[i]! - w) : Infinity)));
    return { name, error, allowed, ok: error <= allowed };
  };
  const p = new Program(gpu, 'doctor');
  const product = tensor([2, 3], new Array(6).fill(0));
  matmulNT(p, { x: tensor([2, 4], [1, 2, 3, 4, -1, 0, 1, 2]), w: tensor([3, 4], [1, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, -1, 1, -1]), y: product });
  const normed = tensor([1, 2], [0, 0]);
  rmsNorm(p, { x: tensor([1, 2], [3, 4]), gain: tensor([2], [1, 2]), y: normed, rstd: tensor([1], [0]) }, 0);
  // Equal logits of policy and reference: T+ and T- must be 0 to the bit. What lies behind the five that count is nobody's.
  const logits = [0.3, -2, 5, 1.25, 0];
  const [f, r] = [9, -9].map((behind) => tensor([1, 8], [...logits, behind, behind, behind])) as [Tensor, Tensor];
  const state = tensor([1, 4], [0, 0, 0, 0]);
  const criterion = tensor([1, 8], new Array(8).fill(9));
  p.run(headStats, { tile: f, labels: tensor([1], [2], 'u32'), state }, { v0: 0, count: 5 });
  p.run(headCriterion, { tile: f, ref_tile: r, offset: tensor([1], [0]), criterion }, { v0: 0, count: 5, epsilon: 0.01 });
  await p.submit();
  const s = await debugRead(state);
  const c = await debugRead(criterion);
  const z = logits.reduce((n, x) => n + Math.exp(x - 5), 0);
  const result = [
    check('matrix product', await debugRead(product), [1, 5, -2, -1, 1, -2], 0),
    check('RMSNorm', await debugRead(normed), [3 / Math.sqrt(12.5), 8 / Math.sqrt(12.5)], 1e-6),
    check('log-softmax', [s[3]! - s[0]! - Math.log(s[1]!)], [-Math.log(z)], 1e-5),
    check('ε-criterion of equal models', [c[4]!, c[5]!, c[1]! - c[3]!], [0, 0, 0], 0),
  ];
  gpu.check();
  return result;
}
