// dk and dv of attention.bwd_dkv in f32 for BM key rows and one key/value head.   Shapes as there, in vec4s.   The tiles that see these keys (ops/attention_tiles.ts) pass
// by in blocks of BN queries, head after head of the group; a thread's part is in lib/attention_tiled, keys down and queries across.
// #use lib/grid
// #use lib/attention_score
// #use lib/attention_tile
// #use lib/attention_tiled
var<workgroup> queries: array<vec4f, SIZE_K>;
var<workgroup> douts: array<vec4f, SIZE_K>;
var<workgroup> p: array<vec4f, SIZE_S>;
var<workgroup> ds: array<vec4f, SIZE_S>;
var<workgroup> norm: array<f32, BN>;
var<workgroup> mean: array<f32, BN>;

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let id = linear_group(group, groups);
  let g = id % args.G;
  let tile = id / (args.G * PARTS);
  if (tile >= args.T) { return; }
  let mine = tile_rows(tile, id / args.G % PARTS * BM, BM);
  if (mine.count == 0u) { return; }
  let tx = local % NT;
  let row = local / NT * RM;
  // #for m RM
  let r$m = ((mine.first + min(row + $mu, mine.count - 1u)) * args.G + g) * E;
  // #for j CV
  var dk$m_$j = vec4f();
  var dv$m_$j = vec4f();
  // #end
  // #end
  for (var other = tile; other < mine.end_tile; other++) {
    for (var skip = 0u; skip < TILE_ROWS; skip += BN) {
      let q_rows = tile_rows(other, skip, BN);
      let distance = i32(q_rows.position) - i32(mine.position);
      // The last query before the first key, or the first query's window past the last key.
      if (q_rows.count == 0u || distance + i32(q_rows.count) <= 0 || (args.window > 0u && distance >= i32(args.window + mine.count - 1u))) { continue; }
      for (var h = g * (args.H / args.G); h < (g + 1u) * (args.H / args.G); h++) {
        for (var i = local; i < BN * E; i += WG) {
          var x = vec4f();
          var y = vec4f();
          if (i / E < q_rows.count) {
            let at = ((q_rows.first + i / E) * args.H + h) * E + i % E;
            x = q[at];
            y = dout[at];
          }
          queries[i / E * PITCH_K + i % E] = x;
          douts[i / E * PITCH_K + i % E] = y;
        }
        for (var i = local; i < BN; i += WG) {
          let at = (q_rows.first + min(i, q_rows.count - 1u)) * args.H + h;
          norm[i] = lse[at];
          mean[i] = delta[at];
        }
        workgroupBarrier();
        // #for m RM
        var s$m = vec4f();
        var dp$m = vec4f();
        // #end
        for (var e = 0u; e < E; e++) {
          let q0 = queries[tx * PITCH_K + e];
          let q1 = queries[(tx + NT) * PITCH_K + e];
          let q2 = queries[(tx + 2u * NT) * PITCH_K + e];
          let q3 = queries[(tx + 3u * NT) * PITCH_K + e];
          let d0 = douts[tx * PITCH_K + e];
          let d1 = douts[(tx + NT) * PITCH_K + e];
          let d2 = douts[(tx + 2u * NT) * PITCH_K + e];
          let d3 = douts[(tx + 3u * NT) * PITCH_K + e];
          // #for m RM
          {
            let x = k[r$m + e];
            let y = v[r$m + e];
            s$m = vec4f(mad(x, q0, s$m.x), mad(x, q1, s$m.y), mad(x, q2, s$m.z), mad(x, q3, s$m.w));
            dp$m = vec4f(mad(y, d0, dp$m.x), mad(y, d1, dp$m.y), mad(y, d2, dp$m.z), mad(y, d3, dp$m.w));
          }
          // #end
        }
        let col = columns(tx);
        let norms = vec4f(norm[col.x], norm[col.y], norm[col.z], norm[col.w]);
        let means = vec4f(mean[col.x], mean[col.y], mean[col.z], mean[col.w]);
        // #for m RM
        {
          let x = score4(s$m);
          let seen = in_window(vec4<i32>(distance - i32(row + $mu)) + vec4<i32>(col)) & (col < vec4<u32>(q_rows.count));
          let w = select(vec4f(), exp(x - norms), seen);
          p[(row + $mu) * PITCH_S + tx] = w;
          ds[(row + $mu) * PITCH_S + tx] = w * (dp$m - means) * score_slope4(x);
        }
        // #end
        workgroupBarrier();
        for (var i = 0u; i < NT; i++) {
          // #for m RM
          let x$m = p[(row + $mu) * PITCH_S + i];
          let y$m = ds[(row + $mu) * PITCH_S + i];
          // #end
          // #for j CV
          {
            let at = i * PITCH_K + min(tx + $ju * NT, E - 1u);
            let q0 = queries[at];
            let q1 = queries[at + NT * PITCH_K];
            let q2 = queries[at + 2u * NT * PITCH_K];
            let q3 = queries[at + 3u * NT * PITCH_K];
            let d0 = douts[at];
            let d1 = douts[at + NT * PITCH_K];
            let d2 = douts[at + 2u * NT * PITCH_K];
            let d3 = douts[at + 3u * NT * PITCH_K];
            // #for m RM
            dv$m_$j = dv$m_$j + x$m.x * d0 + x$m.y * d1 + x$m.z * d2 + x$m.w * d3;
            dk$m_$j = dk$m_$j + y$m.x * q0 + y$m.y * q1 + y$m.z * q2 + y$m.w * q3;
            // #end
          }
          // #end
        }
        workgroupBarrier();
      }
    }
  }
  // #for m RM
  // #for j CV
  if (row + $mu < mine.count && tx + $ju * NT < E) {
    dk[r$m + tx + $ju * NT] = dk$m_$j;
    dv[r$m + tx + $ju * NT] = dv$m_$j;
  }
  // #end
  // #end
}
