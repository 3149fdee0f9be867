import { EdpoError } from '../errors.js';

/**
 * Ways of doing a step's work that have a plainer way beside them, with what each spares. All are on; a test or a search for a fault turns some off
 * (`gpu.without`, or EDPO_WITHOUT with names and commas) and must see the same training but for rounding (test/model/paths.test.ts).
 */
export const FUSED_PATHS = {
  attention_matrix: 'attention in f16 matrices; without: in f32',
  product_bias: 'the bias of a linear layer added where a tiled product or one in matrices is made; without: in a pass of its own',
} as const;
export type FusedPath = keyof typeof FUSED_PATHS;

/** The paths that EDPO_WITHOUT names. Throws EdpoError for a name that is none. */
export function pathsOff(names: string | undefined): Set<FusedPath> {
  const asked = (names ?? '').split(',').map((n) => n.trim()).filter(Boolean);
  const wrong = asked.filter((n) => !(n in FUSED_PATHS));
  if (wrong.length > 0) throw new EdpoError(`EDPO_WITHOUT names ${wrong.join(', ')}; expected some of ${Object.keys(FUSED_PATHS).join(', ')}`, { exitCode: 2 });
  return new Set(asked as FusedPath[]);
}
