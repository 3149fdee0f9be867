// dq of attention.bwd_dq in f32 for BM query rows and one head.   Shapes as there, in vec4s.   As attention.tiled_fwd, with keys and values of a block at once.
// #use lib/grid
// #use lib/attention_score
// #use lib/attention_tile
// #use lib/attention_tiled
var<workgroup> keys: array<vec4f, SIZE_K>;
var<workgroup> values: array<vec4f, SIZE_K>;
var<workgroup> ds: array<vec4f, SIZE_S>;

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let id = linear_group(group, groups);
  let h = id % args.H;
  let tile = id / (args.H * PARTS);
  if (tile >= args.T) { return; }
  let mine = tile_rows(tile, id / args.H % PARTS * BM, BM);
  if (mine.count == 0u) { return; }
  let g = h / (args.H / args.G);
  let tx = local % NT;
  let row = local / NT * RM;
  // #for m RM
  let r$m = (mine.first + min(row + $mu, mine.count - 1u)) * args.H + h;
  let norm$m = lse[r$m];
  let mean$m = delta[r$m];
  // #for j CV
  var acc$m_$j = vec4f();
  // #end
  // #end
  let end = last_block(mine);
  for (var at = first_block(mine); at < end; at++) {
    let b = block(mine, at);
    for (var i = local; i < BN * E; i += WG) {
      var x = vec4f();
      var y = vec4f();
      if (i / E < b.count) {
        let from_row = ((b.first + i / E) * args.G + g) * E + i % E;
        x = k[from_row];
        y = v[from_row];
      }
      keys[i / E * PITCH_K + i % E] = x;
      values[i / E * PITCH_K + i % E] = y;
    }
    workgroupBarrier();
    // #for m RM
    var s$m = vec4f();
    var dp$m = vec4f();
    // #end
    for (var e = 0u; e < E; e++) {
      let k0 = keys[tx * PITCH_K + e];
      let k1 = keys[(tx + NT) * PITCH_K + e];
      let k2 = keys[(tx + 2u * NT) * PITCH_K + e];
      let k3 = keys[(tx + 3u * NT) * PITCH_K + e];
      let v0 = values[tx * PITCH_K + e];
      let v1 = values[(tx + NT) * PITCH_K + e];
      let v2 = values[(tx + 2u * NT) * PITCH_K + e];
      let v3 = values[(tx + 3u * NT) * PITCH_K + e];
      // #for m RM
      {
        let x = q[r$m * E + e];
        let y = dout[r$m * E + e];
        s$m = vec4f(mad(x, k0, s$m.x), mad(x, k1, s$m.y), mad(x, k2, s$m.z), mad(x, k3, s$m.w));
        dp$m = vec4f(mad(y, v0, dp$m.x), mad(y, v1, dp$m.y), mad(y, v2, dp$m.z), mad(y, v3, dp$m.w));
      }
      // #end
    }
    let whole = sees_all(b);
    // #for m RM
    {
      let x = score4(s$m);
      var y = exp(x - norm$m) * (dp$m - mean$m) * score_slope4(x);
      if (!whole) { y = select(vec4f(), y, sees(b, row + $mu, columns(tx))); }
      ds[(row + $mu) * PITCH_S + tx] = y;
    }
    // #end
    workgroupBarrier();
    for (var i = 0u; i < NT; i++) {
      // #for m RM
      let y$m = ds[(row + $mu) * PITCH_S + i];
      // #end
      // #for j CV
      {
        let col = min(tx + $ju * NT, E - 1u);
        let k0 = keys[i * PITCH_K + col];
        let k1 = keys[(i + NT) * PITCH_K + col];
        let k2 = keys[(i + 2u * NT) * PITCH_K + col];
        let k3 = keys[(i + 3u * NT) * PITCH_K + col];
        // #for m RM
        acc$m_$j = acc$m_$j + y$m.x * k0 + y$m.y * k1 + y$m.z * k2 + y$m.w * k3;
        // #end
      }
      // #end
    }
    workgroupBarrier();
  }
  // #for m RM
  // #for j CV
  if (row + $mu < mine.count && tx + $ju * NT < E) { dq[r$m * E + tx + $ju * NT] = acc$m_$j; }
  // #end
  // #end
}
