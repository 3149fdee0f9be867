import { Engine } from '../../src/model/engine.js';
import type { EngineOptions, ReferencePlan } from '../../src/model/engine_types.js';
import type { RunConfig } from '../../src/config/keys.js';
import type { Gpu } from '../../src/gpu/device.js';
import type { ModelSpec } from '../../src/model/families/index.js';
import { losses, type LossName } from '../../src/model/losses/index.js';
import type { LossDefinition, LossSettings } from '../../src/model/losses/types.js';
import { Parameters } from '../../src/model/parameters.js';
import { useDtype } from '../../src/model/session.js';
import type { Storage } from '../../src/model/storage.js';

export const settings = (over: Partial<LossSettings> = {}): LossSettings => ({
  beta: 0.1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0,
  params: { label_smoothing: 0 }, criterionColumns: false, ...over,
});

/** Parameters filled from a record of f32 arrays. */
export async function loadParameters(gpu: Gpu, spec: ModelSpec, weights: Record<string, Float32Array>, trainable: boolean, label?: string, storage?: Storage): Promise<Parameters> {
  const parameters = new Parameters(gpu, spec, trainable, label, undefined, storage);
  await parameters.load((p, first, rows) => {
    const width = p.shape.length === 2 ? p.shape[1]! : 1;
    return weights[p.name]!.subarray(first * width, (first + rows) * width);
  });
  return parameters;
}

export async function makeEngine(
  gpu: Gpu,
  policy: Parameters,
  loss: LossName | LossDefinition,
  reference: ReferencePlan,
  options: Partial<EngineOptions> & { rows?: number; over?: Partial<LossSettings> } = {},
): Promise<Engine> {
  const { rows = 256, over, ...rest } = options;
  const engine = new Engine({
    gpu, policy, loss: typeof loss === 'string' ? losses[loss] : loss, settings: settings(over), reference, capacity: { rows, sequences: 32 }, training: true, ...rest,
  });
  await engine.ready();
  engine.setState(settings(over).beta);
  return engine;
}

/** What `body` makes in mixed precision. */
export async function inMixed<T>(gpu: Gpu, body: () => Promise<T>): Promise<T> {
  useDtype(gpu, { dtype: 'mixed_f16' } as RunConfig);
  try {
    return await body();
  } finally {
    gpu.mixed = undefined;
  }
}
