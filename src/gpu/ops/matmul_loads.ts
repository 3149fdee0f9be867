import { NESTED_SCALES, NF4_VALUES, type PackedFormat } from '../packed.js';
import { PER_127, weightBindings, weightCode } from './weights.js';

/*
 * How the workgroups of matmul_matrix.ts load the weight's side: b_load() brings the i-th vec4 of a tile at (n0, k0) into registers as it is kept, b_halves() makes eight
 * f16 of it as it goes to workgroup memory (done as it is loaded, the load would have to be waited for), b_begin() runs once before. From an f16 copy they are those eight
 * already; a frozen weight of 16 bits or fewer is unpacked, times its scale, with the roundings of pack_f16.ts: the bits of a copy. Rows and columns past the edges are 0.
 */

/** The loads of f16 copies; `load` is what b_load does. */
export const copyLoads = (load: string): string => `fn b_begin(local: u32) {}
fn b_load(n0: u32, k0: u32, i: u32) -> vec4<u32> {
  ${load}
}
fn b_halves(kept: vec4<u32>) -> vec4<u32> { return kept; }`;
/** Those of one operand in blocks (lib/operand_layout.wgsl); `b_at` says where. */
export const COPY_LOADS = copyLoads('return b[b_at(n0, k0, i)];');

/** What a thread keeps of eight elements beside each other, where rows are whole eights: none straddles a word or a block of nf4. */
interface Eight { type: string; kept: string; none: string; load: string; halves: string; begin?: string }

const pair = (body: string): Eight => ({
  type: 'vec4<u32>', kept: 'vec4<u32>', none: 'vec4<u32>()', load: 'b[e / 8u]',
  halves: `let v = kept;\n  return packed8(${['x', 'z'].map((c) => body.replaceAll('LOW', `v.${c}`).replaceAll('HIGH', `v.${c === 'x' ? 'y' : 'w'}`)).join(', ')}, scale);`,
});

/** nf4's table in workgroup memory: sixteen numbers in sixteen banks. */
const NF4_TABLE = `var<workgroup> nf4_table: array<f32, ${NF4_VALUES}>;`;
const NF4_BEGIN = `for (var i = local; i < ${NF4_VALUES}u; i += WG) { nf4_table[i] = b_scales[i]; }`;
/** Of a byte's two values the first is in the high half. Code 7 is 0 whatever the scale. */
const nf4Halves = (scale: string): string => `let q = vec4<u32>(kept.codes) >> vec4<u32>(4u, 0u, 12u, 8u);
  let low = q & vec4<u32>(15u);
  let high = (q >> vec4<u32>(16u)) & vec4<u32>(15u);
  let s = ${scale};
  return packed8(vec4f(nf4_table[low.x], nf4_table[low.y], nf4_table[low.z], nf4_table[low.w]) * s, vec4f(nf4_table[high.x], nf4_table[high.y], nf4_table[high.z], nf4_table[high.w]) * s, scale);`;

const EIGHT: Record<PackedFormat, Eight> = {
  f16: pair('vec4f(unpack2x16float(LOW), unpack2x16float(HIGH))'),
  bf16: pair('bitcast<vec4f>(vec4<u32>(LOW << 16u, LOW & 0xffff0000u, HIGH << 16u, HIGH & 0xffff0000u))'),
  int8: {
    type: 'vec2<u32>', kept: 'struct Kept { codes: vec2<u32>, scale: f32 }', none: 'Kept()', load: 'Kept(b[e / 8u], b_scales[row])',
    halves: `let shift = vec4<u32>(24u, 16u, 8u, 0u);
  let low = vec4f(bitcast<vec4<i32>>(vec4<u32>(kept.codes.x) << shift) >> vec4<u32>(24u));
  let high = vec4f(bitcast<vec4<i32>>(vec4<u32>(kept.codes.y) << shift) >> vec4<u32>(24u));
  let s = kept.scale * ${PER_127};
  return packed8(low * s, high * s, scale);`,
  },
  nf4: { type: 'u32', kept: 'struct Kept { codes: u32, scale: f32 }', none: 'Kept(0x77777777u, 0.0)', load: `Kept(b[e / 8u], b_scales[${NF4_VALUES}u + e / 64u])`, begin: NF4_BEGIN, halves: nf4Halves('kept.scale') },
  nf4_double: {
    type: 'u32', kept: 'struct Kept { codes: u32, scale: u32, outer: f32 }', none: 'Kept(0x77777777u, 0u, 0.0)', begin: NF4_BEGIN,
    load: `Kept(b[e / 8u], (b_codes[e / 256u] >> (8u * ((e / 64u) & 3u))) & 255u, b_scales[${NESTED_SCALES}u + e / 16384u])`,
    halves: nf4Halves(`fma(b_scales[${NF4_VALUES}u + kept.scale], kept.outer, b_scales[${NESTED_SCALES - 1}u])`),
  },
};

/** Any width: element by element. */
const ONE: Eight = {
  type: 'u32', kept: 'struct Kept { low: vec4f, high: vec4f }', none: 'Kept()',
  load: `Kept(${[0, 4].map((from) => `vec4f(${[0, 1, 2, 3].map((j) => `b_one(row, col + ${from + j}u)`).join(', ')})`).join(', ')})`,
  halves: 'return packed8(kept.low, kept.high, scale);',
};

/** Whole eights are loaded at once, other rows element by element. */
export type LoadWidth = 8 | 1;

/** Bindings of a frozen weight `b`, to spread into a product's `read`. */
export const frozenBindings = (format: PackedFormat, by: LoadWidth): Record<string, string> => ({ ...weightBindings('b', '_ _', format), b: `_ _ :${by === 8 ? EIGHT[format].type : 'u32'}` });

/**
 * The loads of a frozen weight [rows, args.I] of which `args.count` rows from `args.first` take part. A tile's vec4s go where a copy's would (b_slot).
 * @param byK the rows are k
 */
export function frozenLoads(format: PackedFormat, by: LoadWidth, byK: boolean): string {
  const f = by === 8 ? EIGHT[format] : ONE;
  const kept = f.kept.startsWith('struct') ? 'Kept' : f.kept;
  return `${kept === 'Kept' ? f.kept : ''}
${f.begin ? NF4_TABLE : ''}
${by === 1 ? `${weightCode('b', format)}
fn b_one(row: u32, col: u32) -> f32 {
  if (col >= args.I) { return 0.0; }
  return weight(row * args.I + col) * row_scale(row);
}` : ''}
fn b_begin(local: u32) { ${f.begin ?? ''} }
fn b_load(n0: u32, k0: u32, i: u32) -> ${kept} {
  let block = i / BLOCK;
  let r = ${byK ? 'k0' : 'n0'} + block / ACROSS_B * 8u + block_row(i % BLOCK / (BLOCK / 8u));
  let col = ${byK ? 'n0' : 'k0'} + block % ACROSS_B * BLOCK + i % (BLOCK / 8u) * 8u;
  if (r >= args.count || col >= args.I) { return ${f.none}; }
  let row = args.first + r;
  let e = row * args.I + col;
  return ${f.load};
}
fn b_halves(kept: ${kept}) -> vec4<u32> {
  let scale = scales[args.slot_b];
  ${f.halves}
}`;
}
