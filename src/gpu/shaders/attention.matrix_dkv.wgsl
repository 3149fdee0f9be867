// dk and dv of attention.bwd_dkv for BM key rows and one key/value head, in f16 matrices with f32 sums; shapes as attention.matrix_dq.   The tiles that see these keys
// (ops/attention_tiles.ts) pass by in blocks of BN queries, head after head of the group: scores and dp, keys down and queries across, to workgroup memory; p and ds from
// there as f16 times P_SCALE and ds' own scale, in their place.
// #use lib/grid
// #use lib/inverse
// #use lib/attention_score
// #use lib/attention_score4
// #use lib/attention_tile
const P_SCALE = 4096.0;
var<workgroup> queries: array<vec4<u32>, SIZE_K>;
var<workgroup> douts: array<vec4<u32>, SIZE_K>;
// Scores and dp in f32, as bits; when they have been read, p and ds in f16 at the start of each row.
var<workgroup> s: array<vec4<u32>, SIZE_S>;
var<workgroup> dp: array<vec4<u32>, SIZE_S>;
var<workgroup> norm: array<f32, BN>;
var<workgroup> mean: array<f32, BN>;
fn norm4(j: u32) -> vec4f { return vec4f(norm[j], norm[j + 1u], norm[j + 2u], norm[j + 3u]); }
fn mean4(j: u32) -> vec4f { return vec4f(mean[j], mean[j + 1u], mean[j + 2u], mean[j + 3u]); }

@compute @workgroup_size(WG) @SUBGROUP
fn ENTRY(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let id = linear_group(group, groups);
  let g = id % args.G;
  let tile = id / (args.G * PARTS);
  if (tile >= args.T) { return; }
  let mine = tile_rows(tile, id / args.G % PARTS * BM, BM);
  if (mine.count == 0u) { return; }
  let t = subgroup * SG + lane;
  let row = t / LPR;
  let part = t % LPR;
  let sub_m = subgroup / WN * (TM * MM);
  let sub_n = subgroup % WN;
  let alpha = inverse(scales[args.slot_q]) * inverse(scales[args.slot_k]);
  let alpha_dp = inverse(scales[args.slot_do]) * inverse(scales[args.slot_v]);
  let scale_ds = scales[args.slot];
  let own_at = mine.first * args.sk + g * ROW + sub_m * args.sk;
  // #for d REG
  // #for m TM
  // #for c KC
  let a$m_$c = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&k, own_at + $mu * MM * args.sk + $cu * (MK / 8u), args.sk);
  let b$m_$c = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&v, own_at + $mu * MM * args.sk + $cu * (MK / 8u), args.sk);
  // #end
  // #end
  // #end
  // #for m TM
  // #for c TC
  var acc_k$m_$c = subgroup_matrix_result<f32, MN, MM>();
  var acc_v$m_$c = subgroup_matrix_result<f32, MN, MM>();
  // #end
  // #end
  for (var other = tile; other < mine.end_tile; other++) {
    for (var skip = 0u; skip < TILE_ROWS; skip += BN) {
      let q_rows = tile_rows(other, skip, BN);
      let distance = i32(q_rows.position) - i32(mine.position);
      // The last query before the first key, or the first query's window past the last key.
      if (q_rows.count == 0u || distance + i32(q_rows.count) <= 0 || (args.window > 0u && distance >= i32(args.window + mine.count - 1u))) { continue; }
      let whole = q_rows.count == BN && mine.count == BM && all(in_window(vec4<i32>(distance - i32(BM) + 1, distance + i32(BN) - 1, 0, 0)));
      for (var h = g * (args.H / args.G); h < (g + 1u) * (args.H / args.G); h++) {
        for (var i = t; i < BN * ROW; i += WG) {
          var x = vec4<u32>();
          var y = vec4<u32>();
          if (i / ROW < q_rows.count) {
            let at = (q_rows.first + i / ROW) * args.sq + h * ROW + i % ROW;
            x = q[at];
            y = dout[at];
          }
          queries[i / ROW * PITCH_K + i % ROW] = x;
          douts[i / ROW * PITCH_K + i % ROW] = y;
        }
        for (var i = t; i < BN; i += WG) {
          let at = (q_rows.first + min(i, q_rows.count - 1u)) * args.H + h;
          norm[i] = lse[at];
          mean[i] = delta[at];
        }
        workgroupBarrier();
// #use lib/attention_products
        // #for j PAIRS
        // #for i 2
        let j$j_$i = quad($ju, part) + $iu;
        let x$j_$i = score4(bitcast<vec4f>(s[row * PITCH_S + j$j_$i]) * alpha);
        var w$j_$i = exp(x$j_$i - norm4(4u * j$j_$i));
        if (!whole) {
          let col = columns4(j$j_$i);
          let far = vec4<i32>(distance - i32(row)) + vec4<i32>(col);
          w$j_$i = select(vec4f(), w$j_$i, in_window(far) & (col < vec4<u32>(q_rows.count)) & vec4<bool>(row < mine.count));
        }
        let y$j_$i = w$j_$i * (bitcast<vec4f>(dp[row * PITCH_S + j$j_$i]) * alpha_dp - mean4(4u * j$j_$i)) * score_slope4(x$j_$i) * scale_ds;
        // #end
        // #end
        workgroupBarrier();
        // #for j PAIRS
        s[row * PITCH_S + $ju * LPR + part] = vec4<u32>(halves(w$j_0 * P_SCALE), halves(w$j_1 * P_SCALE));
        dp[row * PITCH_S + $ju * LPR + part] = vec4<u32>(halves(y$j_0), halves(y$j_1));
        // #end
        workgroupBarrier();
        for (var i = 0u; i < BN / MK; i++) {
          // #for m TM
          let w$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&s, (sub_m + $mu * MM) * PITCH_S + i * (MK / 8u), PITCH_S);
          let ds$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&dp, (sub_m + $mu * MM) * PITCH_S + i * (MK / 8u), PITCH_S);
          // #end
          // #for c TC
          {
            let at_q = i * MK * PITCH_K + (sub_n * TC + $cu) * (MN / 8u);
            let query = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, row_major>(&queries, at_q, PITCH_K);
            let d = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, row_major>(&douts, at_q, PITCH_K);
            // #for m TM
            acc_v$m_$c = subgroupMatrixMultiplyAccumulate(w$m, d, acc_v$m_$c);
            acc_k$m_$c = subgroupMatrixMultiplyAccumulate(ds$m, query, acc_k$m_$c);
            // #end
          }
          // #end
        }
        workgroupBarrier();
      }
    }
  }
  let beta_k = inverse(scale_ds) * inverse(scales[args.slot_q]);
  let beta_v = inverse(scales[args.slot_do]) / P_SCALE;
  // #for c TC
  // #for m TM
  subgroupMatrixStore<row_major>(&s, (sub_m + $mu * MM) * PITCH_S + sub_n * (MN / 4u), acc_k$m_$c, PITCH_S);
  subgroupMatrixStore<row_major>(&dp, (sub_m + $mu * MM) * PITCH_S + sub_n * (MN / 4u), acc_v$m_$c, PITCH_S);
  // #end
  workgroupBarrier();
  for (var e = t; e < mine.count * WN * (MN / 4u); e += WG) {
    let x = e % (WN * (MN / 4u));
    let y = e / (WN * (MN / 4u));
    let to = ((mine.first + y) * args.G + g) * (C / 4u) + (x / (MN / 4u) * TC + $cu) * (MN / 4u) + x % (MN / 4u);
    dk[to] = bitcast<vec4f>(s[y * PITCH_S + x]) * beta_k;
    dv[to] = bitcast<vec4f>(dp[y * PITCH_S + x]) * beta_v;
  }
  workgroupBarrier();
  // #end
}
