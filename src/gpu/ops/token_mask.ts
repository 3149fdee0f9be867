import { perRow } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

const site = (base: boolean) =>
  defineKernel({
    name: base ? 'site_mean.fwd_step' : 'site_mean.fwd',
    shader: 'site_mean.fwd',
    read: { x: 'N D', ...(base ? { base: 'N D' } : {}), src: 'S :u32' },
    write: { y: 'S' },
    args: { S: 'u32', D: 'u32' },
    tune: { WG: 64 },
    prelude: `fn before(at: u32) -> f32 { return ${base ? 'base[at]' : '0.0'}; }`,
    grid: ({ S, WG, SG }) => perRow(S!, WG!, SG!),
  });
const sites = { whole: site(false), step: site(true) };

/** y[s] = mean over D of x - base at row src[s]: an activation of a scored row, averaged over its features. x, base [N, D]; y [S]. */
export function siteMean(p: Program, t: { x: Tensor; base?: Tensor; src: Tensor; y: Tensor }): void {
  p.run(t.base ? sites.step : sites.whole, { x: t.x, ...(t.base ? { base: t.base } : {}), src: t.src, y: t.y });
}

/** mask[s,:] (+)= scale · (y[s] - min)/(max - min) over the rows of a sequence; 1 where they are all alike. */
export const maskSite = defineKernel({
  name: 'mask_site.fwd',
  read: { y: 'S', seq_start: '_ :u32' },
  update: { mask: 'S 2' },
  args: { Q: 'u32', accumulate: 'u32', scale: 'f32' },
  tune: { WG: 64 },
  grid: ({ Q, WG, SG }) => perRow(Q!, WG!, SG!),
});
