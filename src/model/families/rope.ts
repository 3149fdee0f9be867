import { z } from 'zod';

/** RoPE as config.json gives it: `rope_theta` and `rope_scaling`, or `rope_parameters` with both (transformers 5). */
export const ropeShape = {
  rope_theta: z.number().positive().optional(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
};

type Given = z.output<z.ZodObject<typeof ropeShape>>;

const number = (o: Record<string, unknown>, key: string): number => {
  const value = o[key];
  if (typeof value !== 'number' || !(value > 0)) throw new Error(`rope_scaling: ${key} is ${JSON.stringify(value ?? null)}; a number above 0 was expected`);
  return value;
};

/**
 * Radians a position for each of the C / 2 pairs of a head: θ^(-2c/C), then scaled as `rope_type` says. `linear`: all divided by the factor
 * (Chen et al. 2023, arXiv 2306.15595). `llama3`: long waves divided, short ones kept, a smooth step between (as Meta's Llama 3.1 release).
 * Throws an Error naming a type edpo lacks.
 */
export function ropeFrequencies(C: number, given: Given, theta = 10000): number[] {
  const parameters = { ...given.rope_scaling, ...given.rope_parameters };
  const base = given.rope_parameters?.['rope_theta'] ?? given.rope_theta ?? theta;
  const plain = Array.from({ length: C / 2 }, (_, c) => 1 / (base as number) ** ((2 * c) / C));
  const type = String(parameters['rope_type'] ?? parameters['type'] ?? 'default');
  if (type === 'default') return plain;
  if (type === 'linear') return plain.map((f) => f / number(parameters, 'factor'));
  if (type !== 'llama3') throw new Error(`rope_scaling of type "${type}" is not one edpo has; it has default, linear, llama3`);
  const [factor, low, high, original] = ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'].map((key) => number(parameters, key)) as [number, number, number, number];
  return plain.map((f) => {
    const wave = (2 * Math.PI) / f;
    if (wave < original / high) return f;
    if (wave > original / low) return f / factor;
    const smooth = (original / wave - low) / (high - low);
    return (1 - smooth) * (f / factor) + smooth * f;
  });
}
