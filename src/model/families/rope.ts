import { z } from 'zod';
import type { Rotary } from './spec.js';

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

/** What a family knows of its rotary positions beside what config.json says. */
export interface RopeDefaults {
  theta?: number;
  /** Share of a head that is turned. */
  partial?: number;
  maxPositions?: number;
  /** `original_max_position_embeddings` where it stands beside rope_scaling: it has precedence. */
  original?: number | undefined;
}

const list = (o: Record<string, unknown>, key: string, length: number): number[] => {
  const value = o[key];
  if (!Array.isArray(value) || value.length !== length || !value.every((v) => typeof v === 'number' && v > 0)) {
    throw new Error(`rope_scaling: ${key} is ${JSON.stringify(value ?? null)}; a list of ${length} numbers above 0 was expected`);
  }
  return value as number[];
};

/**
 * Radians a position for each of the R / 2 pairs of a head, R the share that is turned: θ^(-2c/R), then scaled as `rope_type` says. `linear`: all divided
 * by the factor (Chen et al. 2023, arXiv 2306.15595). `llama3`: long waves divided, short ones kept, a smooth step between (as Meta's Llama 3.1
 * release). `longrope`: divided pair by pair, by other factors above the original length, cos and sin scaled (Ding et al. 2024, arXiv 2402.13753).
 * `dynamic` is the plain one up to max_position_embeddings; see `ropeLimit`. Throws an Error naming a type edpo lacks.
 */
export function rotaryOf(C: number, given: Given, { theta = 10000, partial = 1, maxPositions = 0, original }: RopeDefaults = {}): Rotary {
  const parameters = { ...given.rope_scaling, ...given.rope_parameters };
  const base = given.rope_parameters?.['rope_theta'] ?? given.rope_theta ?? theta;
  const R = Math.floor(C * Number(parameters['partial_rotary_factor'] ?? partial));
  if (R < 2 || R > C || R % 2 !== 0) throw new Error(`RoPE turns ${R} of a head's ${C}; an even number from 2 to ${C} was expected`);
  const plain = Array.from({ length: R / 2 }, (_, c) => 1 / (base as number) ** ((2 * c) / R));
  const type = typeOf(given);
  if (type === 'default' || type === 'dynamic') return { frequencies: plain, scale: 1 };
  if (type === 'linear') return { frequencies: plain.map((f) => f / number(parameters, 'factor')), scale: 1 };
  if (type === 'longrope' || type === 'su') return longRope(plain, original === undefined ? parameters : { ...parameters, original_max_position_embeddings: original }, maxPositions);
  if (type !== 'llama3') throw new Error(`rope_scaling of type "${type}" is not one edpo has; it has default, linear, dynamic, llama3, longrope`);
  const [factor, low, high, first] = ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'].map((key) => number(parameters, key)) as [number, number, number, number];
  const frequencies = plain.map((f) => {
    const wave = (2 * Math.PI) / f;
    if (wave < first / high) return f;
    if (wave > first / low) return f / factor;
    const smooth = (first / wave - low) / (high - low);
    return (1 - smooth) * (f / factor) + smooth * f;
  });
  return { frequencies, scale: 1 };
}

function longRope(plain: number[], parameters: Record<string, unknown>, maxPositions: number): Rotary {
  const from = number({ original_max_position_embeddings: maxPositions, ...parameters }, 'original_max_position_embeddings');
  const factor = parameters['factor'] == null ? maxPositions / from : number(parameters, 'factor');
  const scale = parameters['attention_factor'] == null ? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(from))) : number(parameters, 'attention_factor');
  const divided = (key: string): number[] => list(parameters, key, plain.length).map((by, c) => plain[c]! / by);
  return { frequencies: divided('short_factor'), scale, long: { from, frequencies: divided('long_factor') } };
}

const typeOf = (given: Given): string => {
  const parameters = { ...given.rope_scaling, ...given.rope_parameters };
  return String(parameters['rope_type'] ?? parameters['type'] ?? 'default');
};

/** Why sequences beyond max_position_embeddings are refused, if they are. */
export const ropeLimit = (given: Given): string | undefined =>
  typeOf(given) === 'dynamic' ? 'beyond them dynamic RoPE turns by angles that depend on the longest sequence seen so far, which no batch fixes' : undefined;
