// o = softmax(scale (q k^T + q pos_key[r]^T + k pos_query[r]^T)) v over the rows of one's own sequence, both ways; r depends on i - j alone.
// q, k, v, o [N, H*C], pos_key, pos_query [R, H*C], relative [W]: r of i - j at origin + i - j, span [N] (begin, end).
// One thread per (row, head), online softmax over keys in blocks of four from the sequence's begin. A run of keys at one r shares
// q + pos_query[r] (its product with k is two of the three terms) and q . pos_key[r]: far away, where r seldom changes, a key costs one product.
// #use lib/grid
var<private> qi: array<Vec, E>;
var<private> shifted: array<Vec, E>;
var<private> acc: array<Vec, E>;
var<private> shifted_to: u32;
var<private> to_position: f32;

fn shift_to(r: u32, h: u32) {
  if (r == shifted_to) { return; }
  shifted_to = r;
  let at = (r * H + h) * E;
  to_position = 0.0;
  for (var e = 0u; e < E; e++) {
    shifted[e] = qi[e] + pos_query[at + e];
    to_position += inner(qi[e], pos_key[at + e]);
  }
}

fn key_score(i: u32, j: u32, h: u32) -> f32 {
  shift_to(relative[args.origin + i - j], h);
  let at = (j * H + h) * E;
  var product = 0.0;
  for (var e = 0u; e < E; e++) { product += inner(shifted[e], k[at + e]); }
  return (product + to_position) * args.scale;
}

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * H) { return; }
  let i = t / H;
  let h = t % H;
  for (var e = 0u; e < E; e++) { qi[e] = q[t * E + e]; acc[e] = Vec(); }
  shifted_to = 0xffffffffu;
  var top = -3.4e38;
  var total = 0.0;
  let end = span[i].y;
  for (var j = span[i].x; j < end; j += 4u) {
    let j1 = min(j + 1u, end - 1u);
    let j2 = min(j + 2u, end - 1u);
    let j3 = min(j + 3u, end - 1u);
    let s0 = key_score(i, j, h);
    let s1 = key_score(i, j1, h);
    let s2 = key_score(i, j2, h);
    let s3 = key_score(i, j3, h);
    let seen = vec4<bool>(true, j + 1u < end, j + 2u < end, j + 3u < end);
    let s = select(vec4f(-3.4e38), vec4f(s0, s1, s2, s3), seen);
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
  for (var e = 0u; e < E; e++) { o[t * E + e] = acc[e] * inverse; }
}
