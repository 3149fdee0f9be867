import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/*
 * Disentangled self-attention (He et al. 2021, arXiv 2006.03654, equation 4) with one projection for contents and positions: content to
 * content, content to position and position to content, over packed sequences in both directions, one thread per row and head.
 */
function kernel(vector: boolean): Kernel {
  const v = vector ? ':vec4f' : '';
  const rows = `N H*C${v}`;
  const positions = `R H*C${v}`;
  return defineKernel({
    name: `disentangled_attention.fwd${vector ? '_vec4' : ''}`,
    shader: 'disentangled_attention.fwd',
    read: { q: rows, k: rows, v: rows, pos_key: positions, pos_query: positions, relative: 'W :u32', span: 'N 2 :vec2<u32>' },
    write: { o: rows },
    args: { N: 'u32', scale: 'f32', origin: 'u32' },
    tune: { WG: 64, H: 1, C: 4 },
    prelude: vector
      ? 'alias Vec = vec4f;\nconst E = C / 4u;\nfn inner(a: Vec, b: Vec) -> f32 { return dot(a, b); }'
      : 'alias Vec = f32;\nconst E = C;\nfn inner(a: Vec, b: Vec) -> f32 { return a * b; }',
    grid: ({ N, H, WG }) => perThread(N! * H!, WG!),
  });
}
const [plain, vec4] = [kernel(false), kernel(true)];

/**
 * q, k, v [N, H*C]; pos_key, pos_query [R, H*C], the same projections of the relative embeddings; relative [2T − 1], the row of those for
 * i − j from −(T − 1), where T is the longest sequence; span [N, 2], first row and end of each row's sequence → o [N, H*C].
 */
export function disentangledAttention(
  p: Program,
  t: { q: Tensor; k: Tensor; v: Tensor; pos_key: Tensor; pos_query: Tensor; relative: Tensor; span: Tensor; o: Tensor },
  { H, C, scale }: { H: number; C: number; scale: number },
): void {
  p.run(C % 4 === 0 ? vec4 : plain, t, { H, C, scale, origin: (t.relative.elements - 1) / 2 }, { tune: { H, C } });
}
