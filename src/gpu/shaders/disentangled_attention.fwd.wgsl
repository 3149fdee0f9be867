// o = softmax(scale (q k^T + c2p + p2c)) v over the rows of one's own sequence, both ways: c2p[i,h,r], p2c[j,h,r] with r by i - j.
// q, k, v, o [N, H*C], c2p, p2c [N, H*R], relative [W]: r of i - j at origin + i - j, tiles [T]: (rows of queries, rows of keys), begin and end each.
// One workgroup per tile and head, one thread per query row: all threads read the same keys. Online softmax over keys in blocks of four from the
// sequence's begin.
// #use lib/grid
var<private> qi: array<Vec, E>;
var<private> acc: array<Vec, E>;

fn key_score(i: u32, j: u32, h: u32) -> f32 {
  let at = (j * H + h) * E;
  var product = 0.0;
  for (var e = 0u; e < E; e++) { product += inner(qi[e], k[at + e]); }
  let r = relative[args.origin + i - j];
  return (product + (c2p[(i * H + h) * args.R + r] + p2c[(j * H + h) * args.R + r])) * args.scale;
}

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let g = linear_group(group, groups);
  if (g >= args.T * H) { return; }
  let h = g % H;
  let tile = tiles[g / H];
  let i = tile.x + local;
  if (i >= tile.y) { return; }
  let own = (i * H + h) * E;
  for (var e = 0u; e < E; e++) { qi[e] = q[own + e]; acc[e] = Vec(); }
  var top = -3.4e38;
  var total = 0.0;
  let end = tile.w;
  for (var j = tile.z; j < end; j += 4u) {
    let j1 = min(j + 1u, end - 1u);
    let j2 = min(j + 2u, end - 1u);
    let j3 = min(j + 3u, end - 1u);
    let seen = vec4<bool>(true, j + 1u < end, j + 2u < end, j + 3u < end);
    let s = select(vec4f(-3.4e38), vec4f(key_score(i, j, h), key_score(i, j1, h), key_score(i, j2, h), key_score(i, j3, h)), seen);
    let next = max(top, max(max(s.x, s.y), max(s.z, s.w)));
    let keep = exp(top - next);
    let p = select(vec4f(0.0), exp(s - next), seen);
    total = fma(total, keep, (p.x + p.y) + (p.z + p.w));
    let a0 = (j * H + h) * E;
    let a1 = (j1 * H + h) * E;
    let a2 = (j2 * H + h) * E;
    let a3 = (j3 * H + h) * E;
    for (var e = 0u; e < E; e++) {
      acc[e] = acc[e] * keep + ((p.x * v[a0 + e] + p.y * v[a1 + e]) + (p.z * v[a2 + e] + p.w * v[a3 + e]));
    }
    top = next;
  }
  let inverse = 1.0 / total;
  for (var e = 0u; e < E; e++) { o[own + e] = acc[e] * inverse; }
}
