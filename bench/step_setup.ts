import type { Gpu } from '../src/gpu/device.js';
import { Engine } from '../src/model/engine.js';
import { modelSpec } from '../src/model/families/index.js';
import { parameterCount, parameterSpecs, type ModelSpec } from '../src/model/families/spec.js';
import { losses } from '../src/model/losses/index.js';
import { Parameters } from '../src/model/parameters.js';
import { keyedUniform } from '../src/model/data/order.js';
import type { Document } from '../src/model/batch/pack.js';

export const OPTIMISE = { lr: 1e-5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };

export interface StepShape {
  hidden: number;
  layers: number;
  vocab: number;
  pairs: number;
  /** Token rows of a pair: a third each of prompt, chosen and rejected. */
  length: number;
}

/** An ε-DPO step with the reference live on random weights, ready to run. */
export interface StepCase {
  engine: Engine;
  spec: ModelSpec;
  documents: Document[];
  /** Token rows of the step; parameters of the policy. */
  rows: number;
  parameters: number;
  /** 8N a row: policy forward and backward 6N, the live reference 2N. */
  flops: number;
  /** One step with its read-back; milliseconds. */
  step(): Promise<number>;
}

/** A seeded random model: 8 heads in 4 groups, SwiGLU of 8/3 D, tied head. */
export async function randomModel(gpu: Gpu, { hidden: D, layers: L, vocab: V }: { hidden: number; layers: number; vocab: number }, seed: number, trainable: boolean): Promise<Parameters> {
  const spec = modelSpec({
    model_type: 'llama', hidden_size: D, intermediate_size: Math.round((D * 8) / 3 / 4) * 4, num_hidden_layers: L, num_attention_heads: 8, num_key_value_heads: 4,
    head_dim: Math.max(8, D / 8), vocab_size: V, tie_word_embeddings: true,
  }, 'bench');
  const order = parameterSpecs(spec).map((p) => p.name);
  const parameters = new Parameters(gpu, spec, trainable, `bench${seed}`);
  await parameters.load((p, first, rows) => {
    const width = p.shape[1] ?? 1;
    return Float32Array.from({ length: rows * width }, (_, i) => (p.shape.length === 1 ? 1 : (keyedUniform(seed, order.indexOf(p.name), first * width + i) - 0.5) / Math.sqrt(width)));
  });
  return parameters;
}

/** Builds the model, the pairs and the engine on `gpu`. */
export async function stepCase(gpu: Gpu, shape: StepShape): Promise<StepCase> {
  const { vocab: V, pairs, length } = shape;
  const [policy, reference] = [await randomModel(gpu, shape, 1, true), await randomModel(gpu, shape, 2, false)];
  const { spec } = policy;
  const third = Math.floor(length / 3);
  const ids = (seed: number): number[] => Array.from({ length: third }, (_, i) => Math.floor(keyedUniform(seed, i) * V));
  const documents: Document[] = Array.from({ length: pairs }, (_, i) => ({ id: i, prompt: ids(i * 3), branches: [ids(i * 3 + 1), ids(i * 3 + 2)] }));
  const rows = pairs * third * 3;
  const engine = await new Engine({
    gpu, policy, loss: losses.epsilon_dpo, reference: { kind: 'live', parameters: reference }, training: true, capacity: { rows, sequences: Math.max(8, pairs * 2) },
    settings: { beta: 0.1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0, params: { label_smoothing: 0 }, criterionColumns: false },
  }).ready();
  engine.setState(0.1);
  const parameters = parameterCount(spec);
  const step = async (): Promise<number> => {
    const started = performance.now();
    const read = engine.microBatch(documents, undefined, 1 / pairs, true);
    const record = engine.optimise(OPTIMISE);
    await read();
    await record();
    return performance.now() - started;
  };
  return { engine, spec, documents, rows, parameters, flops: 8 * parameters * rows, step };
}

/** Median of `runs` steps after one that warms up; milliseconds. */
export async function medianStep(c: StepCase, runs: number): Promise<number> {
  await c.step();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push(await c.step());
  return times.sort((a, b) => a - b)[Math.floor(runs / 2)]!;
}
