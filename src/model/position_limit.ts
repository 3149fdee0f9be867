import { InputError } from '../errors.js';
import type { ModelSpec } from './families/spec.js';

/**
 * Refuses a sequence that the model has no positions for; models with RoPE take any length.
 * @param what begins the message: whose sequence it is, "row 7 has", say
 */
export function requirePositions(spec: ModelSpec, tokens: number, what: string, hint: string): void {
  if (spec.positionLimit === undefined || tokens <= spec.maxPositions) return;
  throw new InputError(`${what} ${tokens} tokens; this model has ${spec.maxPositions} positions, and ${spec.positionLimit}`, hint);
}
