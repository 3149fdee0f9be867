const f = Math.fround;

/** `torch.linspace(0.1, 1, n)` in f32: from both ends, with f32's step, each value rounded once. */
function linspace(n: number): number[] {
  const [begin, step] = [f(0.1), f(f(1 - f(0.1)) / (n - 1))];
  return Array.from({ length: n }, (_, i) => f(i < Math.floor(n / 2) ? begin + step * i : 1 - step * (n - 1 - i)));
}

/**
 * The dynamic data type's 256 values, rising, as bitsandbytes makes them (Dettmers 2015, arXiv 1511.04561; Dettmers et al. 2022, arXiv 2110.02861):
 * decades down to 1e-7, each with half the values of the next, in f32.
 * @param signed both signs (Adam's first moment, nf4's scales); else the second moment's
 */
export function dynamicMap(signed: boolean): Float32Array {
  const data = [0, 1];
  for (let i = 0; i < 7; i++) {
    const edges = linspace(2 ** (signed ? i : i + 1) + 1);
    for (let k = 0; k + 1 < edges.length; k++) {
      const value = f(f(10 ** (i - 6)) * f(f(edges[k]! + edges[k + 1]!) / 2));
      data.push(...(signed ? [value, -value] : [value]));
    }
  }
  return Float32Array.from(data).sort();
}

/** Both maps as 8-bit AdamW's kernel binds them: signed, then unsigned. */
export const dynamicMaps = (): Float32Array => Float32Array.of(...dynamicMap(true), ...dynamicMap(false));

/** Index of the value of a rising map next to v, the lower one where both are as near. */
export function nearest(map: Float32Array, v: number): number {
  let [low, high] = [0, map.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (map[middle]! < v) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return 0;
  if (low === map.length) return low - 1;
  return f(map[low]! - v) < f(v - map[low - 1]!) ? low : low - 1;
}
