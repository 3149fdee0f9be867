import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** Kernels by one element or by four, which their shaders call Vec: the latter where rows are whole fours. */
export const FORMS = {
  '': { vec: '', WIDTH: 1, prelude: 'alias Vec = f32;\nfn total(v: Vec) -> f32 { return v; }' },
  _vec4: { vec: ':vec4f', WIDTH: 4, prelude: 'alias Vec = vec4f;\nfn total(v: Vec) -> f32 { return (v.x + v.y) + (v.z + v.w); }' },
} as const;
export type Form = keyof typeof FORMS;
export const formOf = (p: Program, x: Tensor): Form => (byFours(p.gpu, x.shape[1] as number) ? '_vec4' : '');
export const inForms = <T>(make: (form: Form) => T): Record<Form, T> => ({ '': make(''), _vec4: make('_vec4') });

/** Loads that a lane has under way at once. */
const MOST_LOADS = 8;

/** SIDE of a kernel whose lanes stride over so many Vecs: as many loads side by side as divide a lane's share evenly. No sum's order depends on it. */
export function sideBySide(p: Program, vecs: number): number {
  const share = Math.ceil(vecs / p.gpu.rowLanes);
  return Math.ceil(share / Math.ceil(share / MOST_LOADS));
}
