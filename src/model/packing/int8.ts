const f = Math.fround;

/**
 * Rows [O, I] in 8 bits, as bitsandbytes' int8_vectorwise_quant stores LLM.int8()'s weights (Dettmers et al. 2022, arXiv 2208.07339): round(w·127/absmax)
 * of each row, half to even. Activations stay f32 here, so nothing needs its split into outliers and the rest.
 */
export function packInt8(values: Float32Array, width: number): { words: Uint32Array; absmax: Float32Array } {
  const bytes = new Int8Array(Math.ceil(values.length / 4) * 4);
  const absmax = new Float32Array(values.length / width);
  for (let r = 0; r < absmax.length; r++) {
    let most = 0;
    for (let i = r * width; i < (r + 1) * width; i++) most = Math.max(most, Math.abs(values[i]!));
    absmax[r] = most;
    const factor = most === 0 ? 0 : f(127 / most);
    for (let i = r * width; i < (r + 1) * width; i++) bytes[i] = halfToEven(f(values[i]! * factor));
  }
  return { words: new Uint32Array(bytes.buffer), absmax };
}

function halfToEven(v: number): number {
  const below = Math.floor(v);
  const rest = v - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** 1/127 as bitsandbytes writes it. */
const PER_127 = 7.874015718698502e-3;

export function unpackInt8(words: Uint32Array, absmax: Float32Array, elements: number): Float32Array {
  const bytes = new Int8Array(words.buffer, words.byteOffset);
  const width = elements / absmax.length;
  return Float32Array.from({ length: elements }, (_, i) => f(bytes[i]! * absmax[Math.floor(i / width)]!) * f(PER_127));
}
