// dq of attention.bwd_dq for BM query rows and one head, in f16 matrices with f32 sums.   q, dout [N, H*C], k, v [N, G*C] packed f16, eight to a vec4<u32>; dq [N, H*C],
// lse, delta [N, H] f32.   Per block of BN keys: scores and dp to workgroup memory, ds from there as f16 times its scale, in the scores' place. The largest |ds| goes to peaks as bits.
// #use lib/grid
// #use lib/inverse
// #use lib/attention_score
// #use lib/attention_score4
// #use lib/attention_tile
var<workgroup> keys: array<vec4<u32>, SIZE_K>;
var<workgroup> values: array<vec4<u32>, SIZE_K>;
// Scores and dp in f32, as bits; when they have been read, ds in f16 at the start of each row of scores.
var<workgroup> s: array<vec4<u32>, SIZE_S>;
var<workgroup> dp: array<vec4<u32>, SIZE_S>;

fn place(b: Block, g: u32, i: u32) -> u32 { return (b.first + i / ROW) * args.sk + g * ROW + i % ROW; }
fn fetch_k(b: Block, g: u32, i: u32) -> vec4<u32> {
  if (i / ROW >= b.count) { return vec4<u32>(); }
  return k[place(b, g, i)];
}
fn fetch_v(b: Block, g: u32, i: u32) -> vec4<u32> {
  if (i / ROW >= b.count) { return vec4<u32>(); }
  return v[place(b, g, i)];
}

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
  let alpha_dp = inverse(scales[args.slot_do]) * inverse(scales[args.slot_v]);
  let scale_ds = scales[args.slot];
  let r = (mine.first + min(row, mine.count - 1u)) * args.H + h;
  let norm = lse[r];
  let mean = delta[r];
  let own_at = mine.first * args.sq + h * ROW + sub_m * args.sq;
  // #for d REG
  // #for m TM
  // #for c KC
  let a$m_$c = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&q, own_at + $mu * MM * args.sq + $cu * (MK / 8u), args.sq);
  let b$m_$c = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&dout, own_at + $mu * MM * args.sq + $cu * (MK / 8u), args.sq);
  // #end
  // #end
  // #end
  // #for m TM
  // #for c TC
  var acc$m_$c = subgroup_matrix_result<f32, MN, MM>();
  // #end
  // #end
  var peak = 0u;
  let begin = first_block(mine);
  let end = last_block(mine);
  let start = block(mine, begin);
  // #for i LOADS
  var next_k$i = fetch_k(start, g, $iu * WG + t);
  var next_v$i = fetch_v(start, g, $iu * WG + t);
  // #end
  for (var at = begin; at < end; at++) {
    let b = block(mine, at);
    // #for i LOADS
    if ($iu * WG + t < BN * ROW) {
      let to = ($iu * WG + t) / ROW * PITCH_K + ($iu * WG + t) % ROW;
      keys[to] = next_k$i;
      values[to] = next_v$i;
    }
    // #end
    workgroupBarrier();
    if (at + 1u < end) {
      let n = block(mine, at + 1u);
      // #for i LOADS
      next_k$i = fetch_k(n, g, $iu * WG + t);
      next_v$i = fetch_v(n, g, $iu * WG + t);
      // #end
    }
// #use lib/attention_products
    let whole = mine.count == BM && sees_all(b);
    // #for j PAIRS
    // #for i 2
    let at$j_$i = row * PITCH_S + quad($ju, part) + $iu;
    let x$j_$i = score4(bitcast<vec4f>(s[at$j_$i]) * alpha);
    var y$j_$i = exp(x$j_$i - norm) * (bitcast<vec4f>(dp[at$j_$i]) * alpha_dp - mean) * score_slope4(x$j_$i);
    if (!whole) { y$j_$i = select(vec4f(), y$j_$i, sees(b, row, columns4(quad($ju, part) + $iu)) & vec4<bool>(row < mine.count)); }
    peak = max(peak, max(max(magnitude(y$j_$i.x), magnitude(y$j_$i.y)), max(magnitude(y$j_$i.z), magnitude(y$j_$i.w))));
    // #end
    // #end
    workgroupBarrier();
    // #for j PAIRS
    s[row * PITCH_S + $ju * LPR + part] = vec4<u32>(halves(y$j_0 * scale_ds), halves(y$j_1 * scale_ds));
    // #end
    workgroupBarrier();
    for (var i = 0u; i < BN / MK; i++) {
      // #for m TM
      let ds$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&s, (sub_m + $mu * MM) * PITCH_S + i * (MK / 8u), PITCH_S);
      // #end
      // #for c TC
      {
        let key = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, row_major>(&keys, i * MK * PITCH_K + (sub_n * TC + $cu) * (MN / 8u), PITCH_K);
        // #for m TM
        acc$m_$c = subgroupMatrixMultiplyAccumulate(ds$m, key, acc$m_$c);
        // #end
      }
      // #end
    }
    workgroupBarrier();
  }
  watch(peak);
  let beta = inverse(scale_ds) * inverse(scales[args.slot_k]);
  // #for c TC
  // #for m TM
  subgroupMatrixStore<row_major>(&s, (sub_m + $mu * MM) * PITCH_S + sub_n * (MN / 4u), acc$m_$c, PITCH_S);
  // #end
  workgroupBarrier();
  for (var e = t; e < mine.count * WN * (MN / 4u); e += WG) {
    let x = e % (WN * (MN / 4u));
    let y = e / (WN * (MN / 4u));
    dq[((mine.first + y) * args.H + h) * (C / 4u) + (x / (MN / 4u) * TC + $cu) * (MN / 4u) + x % (MN / 4u)] = bitcast<vec4f>(s[y * PITCH_S + x]) * beta;
  }
  workgroupBarrier();
  // #end
}
