import t from 'tap';
import { modelSpec, type ModelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { joinStored, readStored, withoutPrefix } from '../../src/model/files/stored.js';
import { adapterName, adapterParameters, adapterSpecs, loraTargets, savedTensors, type LoraSettings } from '../../src/model/lora.js';
import { debugRead } from '../../src/gpu/readback.js';
import { close } from '../helpers/close.js';
import { makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { adapted, merged, score, column, golden, product, type Weights, type Numbers } from '../helpers/lora.js';
import { logits as twinLogits, responseLogps } from '../reference/transformer.js';

/**
 * How far the model's f64 twin moves each response's log-prob if every weight is off by up to half a unit in the last place of f32 (root mean square of eight draws): what a model
 * makes of roundings, whatever the order of its sums. [pairs][chosen, rejected]
 */
function movedByRounding(spec: ModelSpec, w: Numbers): number[][] {
  const draws = Array.from({ length: 8 }, (_, i) => {
    const random = rng(900 + i);
    return Object.fromEntries(Object.entries(w).map(([name, values]) => [name, Float64Array.from(values, (v) => v * (1 + 2 ** -24 * (2 * random.uniform() - 1)))]));
  });
  const sum = (of: Numbers, prompt: number[], response: number[]): number => responseLogps(spec, of, prompt, response).reduce((a, b) => a + b, 0);
  return golden.pairs.map(({ prompt, chosen, rejected }) => [chosen, rejected].map((response) => {
    const at = sum(w, prompt, response);
    return Math.sqrt(draws.reduce((n, draw) => n + (sum(draw, prompt, response) - at) ** 2, 0) / draws.length);
  }));
}
/**
 * A forward pass rounds more than its weights: what a product reads, makes and adds, norms, softmax, about six roundings for one of the weights, each as far-reaching. Four deviations
 * of their sum, since there are 36 log-probs here and several adapters, are 4 √7; and the log-prob and its sum over tokens are rounded too.
 */
const allowedOf = (moved: number, logp: number): number => 4 * Math.sqrt(7) * moved + 2 ** -21 * Math.abs(logp);

const wave = (size: number, n: number): Float64Array => Float64Array.from({ length: size }, (_, i) => Math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n));

for (const [name, want] of Object.entries(golden.cases)) {
  t.test(`PEFT, ${name}: names and shapes, logits, log-probs with and without the adapters, DPO loss, gradients of A and B`, async (t) => {
    const gpu = await testGpu();
    const spec = modelSpec(want.config, name);
    const files: Weights = Object.fromEntries(want.names.map((key, n) => {
      const shape = want.shapes[n]!;
      const gain = /(norm|ln_\w)\.weight$/.test(key) && !name.startsWith('gemma') ? 1 : 0;
      return [key, Float32Array.from(wave(product(shape), n), (v) => gain + (shape.length === 2 ? 0.4 : 0.1) * v)];
    }));
    const base: Weights = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, readStored(spec, p, (q, first = 0, rows = q.shape[0]!) => {
      const width = q.shape[1] ?? 1;
      return files[q.name]!.slice(first * width, (first + rows) * width);
    })]));
    const { r, lora_alpha: alpha, use_rslora: rslora, target_modules } = want.adapter_config;
    const targets = name.includes('default') ? loraTargets(spec, undefined) : loraTargets(spec, name.includes('all-linear') ? ['all-linear'] : target_modules);
    const modules = want.adapter_config.modules_to_save;
    const settings: LoraSettings = { r, alpha, rslora, targets, ...(modules ? { saved: savedTensors(spec, modules, targets) } : {}) };
    const tensors = Object.keys(want.tensors);
    t.same([...adapterSpecs(spec, settings)].map((p) => [p.name, p.shape]).sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1)), Object.entries(want.tensors), 'names and shapes are those PEFT writes');
    const values: Weights = Object.fromEntries(tensors.map((key, n) => [key, Float32Array.from(wave(product(want.tensors[key]!), n + 200), (v) => 0.3 * v + (/(norm|ln_\w)\.weight$/.test(key) ? 1 : 0))]));
    const bare = spec.prefix ? withoutPrefix(spec) : spec;
    t.same(adapterSpecs(bare, { r, targets, ...(modules ? { saved: savedTensors(bare, modules, targets) } : {}) }), adapterSpecs(spec, settings), 'a bare decoder’s adapter is named as the whole model’s');
    const { base: reference, policy } = await adapted(gpu, spec, base, settings, values);

    const sequences = golden.sequences.map((s, id) => ({ id, prompt: s, branches: [[3]] }));
    const { hidden } = await score(policy, sequences);
    const head = spec.tied ? spec.names.embed : spec.names.head;
    golden.sequences.forEach((_, k) => close(t, `logits ${k}`, twinLogits(spec, { [head]: values[adapterName(head, 'saved')] ?? base[head]! }, Float64Array.from(hidden.subarray(k * spec.D, (k + 1) * spec.D))), want.logits[k]!, { atol: 1e-4, rtol: 0, name: 'logits' }));

    const documents = golden.pairs.map((p, id) => ({ id, prompt: p.prompt, branches: [p.chosen, p.rejected] }));
    const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'live', parameters: reference }, { over: { beta: golden.beta }, tile: 16 });
    const { table } = await engine.microBatch(documents, undefined, 1 / documents.length, true)();
    // As they lie on the GPU: a fused matrix of the checkpoint is three there, and so are its adapters.
    const onGpu: Weights = {};
    const on = policy.list.map((p) => p.name).filter((weight) => policy.adapters!.of(weight));
    for (const weight of on) {
      const { a, b } = policy.adapters!.of(weight)!;
      [onGpu[adapterName(weight, 'A')], onGpu[adapterName(weight, 'B')]] = [(await debugRead(a.value)).slice(), (await debugRead(b.value)).slice()];
    }
    const own = { ...base };
    for (const tensor of settings.saved ?? []) own[tensor] = (await policy.read(tensor)).slice();
    const whole = merged(own, { ...settings, targets: on }, onGpu);
    const [ofPolicy, ofReference] = [movedByRounding(spec, whole), movedByRounding(spec, base)];
    const sides = [['policy_logps_chosen', 0, want.policy, ofPolicy], ['policy_logps_rejected', 1, want.policy, ofPolicy], ['ref_logps_chosen', 0, want.reference, ofReference], ['ref_logps_rejected', 1, want.reference, ofReference]] as const;
    const allowed = documents.map(() => 0);
    let share = 0;
    for (const [side, i, wanted, moved] of sides) {
      // 1e-5 of the largest, which no family has reached, where that is less.
      const most = 1e-5 * Math.max(...wanted.map((p) => Math.abs(p[i]!)));
      for (const [d, got] of column(table, side).entries()) {
        const bound = Math.min(most, allowedOf(moved[d]![i]!, wanted[d]![i]!));
        allowed[d]! += bound;
        share = Math.max(share, Math.abs(got - wanted[d]![i]!) / bound);
        t.ok(Math.abs(got - wanted[d]![i]!) < bound, `${side} of pair ${d}: ${got} against ${wanted[d]![i]}, allowed ${bound.toExponential(1)}`);
      }
    }
    const loss = column(table, 'loss').reduce((a, b) => a + b, 0) / documents.length;
    // -log σ(β h) has a slope of β at most, and h is made of four log-probs.
    const lossBound = (golden.beta * allowed.reduce((a, b) => a + b, 0)) / documents.length;
    t.ok(Math.abs(loss - want.loss) < lossBound, `loss ${loss} against ${want.loss}, allowed ${lossBound.toExponential(1)}`);
    // Of the log-probs it has, whatever their rounding, it is the loss: their differences are rounded, and it.
    const [pc, pr, rc, rr] = sides.map(([side]) => column(table, side)) as [number[], number[], number[], number[]];
    column(table, 'loss').forEach((got, d) => {
      const bh = golden.beta * (pc[d]! - rc[d]! - (pr[d]! - rr[d]!));
      const exact = Math.max(0, -bh) + Math.log1p(Math.exp(-Math.abs(bh)));
      const bound = 2 ** -24 * golden.beta * sides.reduce((n, [side]) => n + Math.abs(column(table, side)[d]!), 0) + 2 ** -22 * Math.max(1, exact);
      t.ok(Math.abs(got - exact) < bound, `pair ${d}'s loss ${got} of its log-probs: ${exact}, allowed ${bound.toExponential(1)}`);
    });
    let worst = 0;
    const { list, stored } = adapterParameters(spec, settings);
    for (const [n, key] of tensors.entries()) {
      t.same([...(await policy.adapters!.read(key))], [...values[key]!], `${key} as it was filled`);
      const g = await joinStored({ ...spec, stored }, key, (own) => policy.adapters!.parameters.read(own, 'grad'), list);
      const [norm, projection] = want.gradients[n]!;
      const direction = wave(g.length, n + 300);
      const got = [Math.hypot(...g), g.reduce((s, v, i) => s + v * direction[i]!, 0)];
      const error = Math.max(Math.abs(got[0]! - norm), Math.abs(got[1]! - projection) / Math.sqrt(g.length)) / norm;
      worst = Math.max(worst, error);
      t.ok(error < 1e-3, `${key}: norm ${got[0]} against ${norm}, product ${got[1]} against ${projection}`);
    }
    t.comment(`log-probs off by ${(100 * share).toFixed(0)} % of what is allowed, loss by ${Math.abs(loss - want.loss).toExponential(1)}, gradients by ${worst.toExponential(1)} of each tensor's norm`);
  });
}
