// o and lse of attention.fwd in f32 for BM query rows and one head.   Shapes as there, in vec4s.   Keys, then values of a block in workgroup memory (lib/attention_tile),
// rows of the tile from the cache; a thread's part of a block is in lib/attention_tiled.
// #use lib/grid
// #use lib/attention_score
// #use lib/attention_tile
// #use lib/attention_tiled
var<workgroup> kv: array<vec4f, SIZE_K>;
var<workgroup> s: array<vec4f, SIZE_S>;
var<workgroup> tops: array<f32, BM>;
var<workgroup> factors: array<f32, BM>;

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
  let q$m = ((mine.first + min(row + $mu, mine.count - 1u)) * args.H + h) * E;
  var total$m = 0.0;
  // #for j CV
  var acc$m_$j = vec4f();
  // #end
  // #end
  if (local < BM) { tops[local] = -3.4e38; }
  let end = last_block(mine);
  for (var at = first_block(mine); at < end; at++) {
    let b = block(mine, at);
    for (var i = local; i < b.count * E; i += WG) { kv[i / E * PITCH_K + i % E] = k[((b.first + i / E) * args.G + g) * E + i % E]; }
    workgroupBarrier();
    // #for m RM
    var s$m = vec4f();
    // #end
    for (var e = 0u; e < E; e++) {
      let k0 = kv[tx * PITCH_K + e];
      let k1 = kv[(tx + NT) * PITCH_K + e];
      let k2 = kv[(tx + 2u * NT) * PITCH_K + e];
      let k3 = kv[(tx + 3u * NT) * PITCH_K + e];
      // #for m RM
      { let x = q[q$m + e]; s$m = vec4f(mad(x, k0, s$m.x), mad(x, k1, s$m.y), mad(x, k2, s$m.z), mad(x, k3, s$m.w)); }
      // #end
    }
    let whole = sees_all(b);
    // #for m RM
    s$m = score4(s$m);
    if (!whole) { s$m = select(vec4f(-3.4e38), s$m, sees(b, row + $mu, columns(tx))); }
    s[(row + $mu) * PITCH_S + tx] = s$m;
    // #end
    workgroupBarrier();
    if (local < BM) {
      var most = vec4f(-3.4e38);
      for (var i = 0u; i < NT; i++) { most = max(most, s[local * PITCH_S + i]); }
      let top = max(tops[local], max(max(most.x, most.y), max(most.z, most.w)));
      factors[local] = exp(tops[local] - top);
      tops[local] = top;
    }
    for (var i = local; i < BN * E; i += WG) {
      var x = vec4f();
      if (i / E < b.count) { x = v[((b.first + i / E) * args.G + g) * E + i % E]; }
      kv[i / E * PITCH_K + i % E] = x;
    }
    workgroupBarrier();
    // #for m RM
    {
      let factor = factors[row + $mu];
      total$m *= factor;
      // #for j CV
      acc$m_$j *= factor;
      // #end
      // A row that has seen no key yet: whatever its maximum, its numbers are 0.
      s[(row + $mu) * PITCH_S + tx] = exp(s$m - max(tops[row + $mu], -1e30));
    }
    // #end
    workgroupBarrier();
    for (var i = 0u; i < NT; i++) {
      // #for m RM
      let p$m = s[(row + $mu) * PITCH_S + i];
      total$m += (p$m.x + p$m.y) + (p$m.z + p$m.w);
      // #end
      // #for j CV
      {
        let col = min(tx + $ju * NT, E - 1u);
        let v0 = kv[i * PITCH_K + col];
        let v1 = kv[(i + NT) * PITCH_K + col];
        let v2 = kv[(i + 2u * NT) * PITCH_K + col];
        let v3 = kv[(i + 3u * NT) * PITCH_K + col];
        // #for m RM
        acc$m_$j = acc$m_$j + p$m.x * v0 + p$m.y * v1 + p$m.z * v2 + p$m.w * v3;
        // #end
      }
      // #end
    }
    workgroupBarrier();
  }
  // #for m RM
  if (row + $mu < mine.count) {
    // #for j CV
    if (tx + $ju * NT < E) { o[q$m + tx + $ju * NT] = acc$m_$j / total$m; }
    // #end
    if (tx == 0u) { lse[(mine.first + row + $mu) * args.H + h] = tops[row + $mu] + log(total$m); }
  }
  // #end
}
