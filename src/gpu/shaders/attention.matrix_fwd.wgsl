// o and lse of attention.fwd for BM query rows and one head, in f16 matrices with f32 sums.   q [N, H*C], k, v [N, G*C] packed f16, eight to a vec4<u32>, rows of sq and
// sk of them; o [N, H*C], lse [N, H] f32.   Blocks of BN keys (lib/attention_tile): scores to workgroup memory, softmax there by LPR lanes a row, its numbers back as f16 in the scores' place.
// Matrices cannot be scaled by row, so a row's numbers are exp(score - its reference), and the reference follows the row's maximum only where that runs away by
// SLACK: then the sums pass through workgroup memory, other rows' times 1.
// #use lib/grid
// #use lib/inverse
// #use lib/attention_score
// #use lib/attention_score4
// #use lib/attention_tile
const SLACK = 5.5;
var<workgroup> kv: array<vec4<u32>, SIZE_K>;
// Scores in f32, as bits; when they have been read, their numbers in f16 at the start of each row.
var<workgroup> s: array<vec4<u32>, SIZE_S>;
var<workgroup> factor: array<f32, BM>;
var<workgroup> moved: array<u32, SUBGROUPS>;

fn fetch_k(b: Block, g: u32, i: u32) -> vec4<u32> {
  if (i / ROW >= b.count) { return vec4<u32>(); }
  return k[(b.first + i / ROW) * args.sk + g * ROW + i % ROW];
}
fn fetch_v(b: Block, g: u32, i: u32) -> vec4<u32> {
  if (i / ROW >= b.count) { return vec4<u32>(); }
  return v[(b.first + i / ROW) * args.sk + g * ROW + i % ROW];
}
fn put(i: u32, x: vec4<u32>) { if (i < BN * ROW) { kv[i / ROW * PITCH_K + i % ROW] = x; } }

@compute @workgroup_size(WG) @SUBGROUP
fn ENTRY(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let id = linear_group(group, groups);
  let h = id % args.H;
  let tile = id / (args.H * PARTS);
  if (tile >= args.T) { return; }
  let mine = tile_rows(tile, id / args.H % PARTS * BM, BM);
  if (mine.count == 0u) { return; }
  let g = h / (args.H / args.G);
  let t = subgroup * SG + lane;
  let row = t / LPR;
  let part = t % LPR;
  let sub_m = subgroup / WN * (TM * MM);
  let sub_n = subgroup % WN;
  let alpha = inverse(scales[args.slot_q]) * inverse(scales[args.slot_k]);
  let q_at = mine.first * args.sq + h * ROW;
  // #for d REG
  // #for m TM
  // #for c KC
  let q$m_$c = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&q, q_at + (sub_m + $mu * MM) * args.sq + $cu * (MK / 8u), args.sq);
  // #end
  // #end
  // #end
  // #for m TM
  // #for c TC
  var acc$m_$c = subgroup_matrix_result<f32, MN, MM>();
  // #end
  // #end
  var reference = -3.4e38;
  // Of the numbers, for lse; of their f16 forms, by which the sums are divided: a row that looks at one key alone gives its value, not that times a rounding.
  var total = 0.0;
  var rounded = 0.0;
  let begin = first_block(mine);
  let end = last_block(mine);
  let start = block(mine, begin);
  // #for i LOADS
  var next$i = fetch_k(start, g, $iu * WG + t);
  // #end
  for (var at = begin; at < end; at++) {
    let b = block(mine, at);
    // #for i LOADS
    put($iu * WG + t, next$i);
    // #end
    workgroupBarrier();
    // #for i LOADS
    next$i = fetch_v(b, g, $iu * WG + t);
    // #end
    // #for m TM
    // #for n TN
    var s$m_$n = subgroup_matrix_result<f32, MN, MM>();
    // #end
    // #end
    // #for d REG
    // #for c KC
    // #for n TN
    {
      let right = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, col_major>(&kv, ((sub_n * TN + $nu) * MN) * PITCH_K + $cu * (MK / 8u), PITCH_K);
      // #for m TM
      s$m_$n = subgroupMatrixMultiplyAccumulate(q$m_$c, right, s$m_$n);
      // #end
    }
    // #end
    // #end
    // #end
    // #for d MEM
    for (var c = 0u; c < KC; c++) {
      // #for m TM
      let q$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&q, q_at + (sub_m + $mu * MM) * args.sq + c * (MK / 8u), args.sq);
      // #end
      // #for n TN
      {
        let right = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, col_major>(&kv, ((sub_n * TN + $nu) * MN) * PITCH_K + c * (MK / 8u), PITCH_K);
        // #for m TM
        s$m_$n = subgroupMatrixMultiplyAccumulate(q$m, right, s$m_$n);
        // #end
      }
      // #end
    }
    // #end
    // #for m TM
    // #for n TN
    subgroupMatrixStore<row_major>(&s, (sub_m + $mu * MM) * PITCH_S + (sub_n * TN + $nu) * (MN / 4u), s$m_$n, PITCH_S);
    // #end
    // #end
    workgroupBarrier();
    // #for i LOADS
    put($iu * WG + t, next$i);
    // #end
    let whole = sees_all(b);
    var top = -3.4e38;
    // #for j PAIRS
    // #for i 2
    var x$j_$i = score4(bitcast<vec4f>(s[row * PITCH_S + quad($ju, part) + $iu]) * alpha);
    if (!whole) { x$j_$i = select(vec4f(-3.4e38), x$j_$i, sees(b, row, columns4(quad($ju, part) + $iu))); }
    top = max(top, max(max(x$j_$i.x, x$j_$i.y), max(x$j_$i.z, x$j_$i.w)));
    // #end
    // #end
    for (var d = 1u; d < LPR; d *= 2u) { top = max(top, subgroupShuffleXor(top, d)); }
    var keep = 1.0;
    if (top > reference + SLACK) {
      keep = exp(reference - top);
      reference = top;
    }
    // A row that has seen no key yet: whatever the reference, its numbers are 0.
    let base = max(reference, -1e30);
    var sum = 0.0;
    var sum_rounded = 0.0;
    // #for j PAIRS
    // #for i 2
    let p$j_$i = exp(x$j_$i - base);
    sum += (p$j_$i.x + p$j_$i.y) + (p$j_$i.z + p$j_$i.w);
    let w$j_$i = vec4<f16>(p$j_$i);
    let y$j_$i = vec4f(w$j_$i);
    sum_rounded += (y$j_$i.x + y$j_$i.y) + (y$j_$i.z + y$j_$i.w);
    // #end
    // #end
    let any = subgroupAny(keep != 1.0 && total > 0.0);
    total = fma(total, keep, sum);
    rounded = fma(rounded, keep, sum_rounded);
    if (part == 0u) { factor[row] = keep; }
    if (lane == 0u) { moved[subgroup] = select(0u, 1u, any); }
    let seen = workgroupUniformLoad(&moved);
    var rescale = 0u;
    for (var i = 0u; i < SUBGROUPS; i++) { rescale |= seen[i]; }
    if (rescale != 0u) {
      // #for c TC
      // #for m TM
      subgroupMatrixStore<row_major>(&s, (sub_m + $mu * MM) * PITCH_S + sub_n * (MN / 4u), acc$m_$c, PITCH_S);
      // #end
      workgroupBarrier();
      for (var e = t; e < BM * WN * (MN / 4u); e += WG) {
        let r = e / (WN * (MN / 4u));
        let i = r * PITCH_S + e % (WN * (MN / 4u));
        s[i] = bitcast<vec4<u32>>(bitcast<vec4f>(s[i]) * factor[r]);
      }
      workgroupBarrier();
      // #for m TM
      acc$m_$c = subgroupMatrixLoad<subgroup_matrix_result<f32, MN, MM>, row_major>(&s, (sub_m + $mu * MM) * PITCH_S + sub_n * (MN / 4u), PITCH_S);
      // #end
      workgroupBarrier();
      // #end
    }
    // All scores have been read: the load of `moved` was a barrier.
    // #for j PAIRS
    s[row * PITCH_S + $ju * LPR + part] = vec4<u32>(bitcast<vec2<u32>>(w$j_0), bitcast<vec2<u32>>(w$j_1));
    // #end
    workgroupBarrier();
    if (at + 1u < end) {
      let n = block(mine, at + 1u);
      // #for i LOADS
      next$i = fetch_k(n, g, $iu * WG + t);
      // #end
    }
    for (var i = 0u; i < BN / MK; i++) {
      // #for m TM
      let p$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&s, (sub_m + $mu * MM) * PITCH_S + i * (MK / 8u), PITCH_S);
      // #end
      // #for c TC
      {
        let right = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, row_major>(&kv, i * MK * PITCH_K + (sub_n * TC + $cu) * (MN / 8u), PITCH_K);
        // #for m TM
        acc$m_$c = subgroupMatrixMultiplyAccumulate(p$m, right, acc$m_$c);
        // #end
      }
      // #end
    }
    workgroupBarrier();
  }
  for (var d = 1u; d < LPR; d *= 2u) {
    total += subgroupShuffleXor(total, d);
    rounded += subgroupShuffleXor(rounded, d);
  }
  if (part == 0u) {
    factor[row] = inverse(scales[args.slot_v]) / rounded;
    if (row < mine.count) { lse[(mine.first + row) * args.H + h] = reference + log(total); }
  }
  // #for c TC
  workgroupBarrier();
  // #for m TM
  subgroupMatrixStore<row_major>(&s, (sub_m + $mu * MM) * PITCH_S + sub_n * (MN / 4u), acc$m_$c, PITCH_S);
  // #end
  workgroupBarrier();
  for (var e = t; e < mine.count * WN * (MN / 4u); e += WG) {
    let r = e / (WN * (MN / 4u));
    let x = e % (WN * (MN / 4u));
    o[((mine.first + r) * args.H + h) * (C / 4u) + (x / (MN / 4u) * TC + $cu) * (MN / 4u) + x % (MN / 4u)] = bitcast<vec4f>(s[r * PITCH_S + x]) * factor[r];
  }
  // #end
}
