// o = softmax(q k^T) v over the keys row i may see; lse = log of the softmax's denominator.
// q, o [N, H*C], k, v [N, G*C], lse [N, H], span [N] (promptStart, promptEnd, branchStart, visEnd).
// One thread per (row, head); keys in blocks of four from promptStart and from branchStart.
// #use lib/grid
// #use lib/attention_score
// #use lib/attention_window
// #for d ARRAYS
var<private> qi: array<Vec, E>;
var<private> acc: array<Vec, E>;
// #end
// #for e NAMED
var<private> q$e: Vec;
var<private> a$e: Vec;
// #end
var<private> top: f32;
var<private> total: f32;

fn scores(j: vec4<u32>, g: u32) -> vec4f {
  let at = (j * G + g) * E;
  var product = vec4f();
  // #for d ARRAYS
  for (var e = 0u; e < E; e++) { product += vec4f(inner(qi[e], k[at.x + e]), inner(qi[e], k[at.y + e]), inner(qi[e], k[at.z + e]), inner(qi[e], k[at.w + e])); }
  // #end
  // #for e NAMED
  product += vec4f(inner(q$e, k[at.x + $eu]), inner(q$e, k[at.y + $eu]), inner(q$e, k[at.z + $eu]), inner(q$e, k[at.w + $eu]));
  // #end
  return vec4f(score(product.x), score(product.y), score(product.z), score(product.w));
}

// `base` is the position of the key at `begin`: the keys may be a cache whose rows are not those of `position`.
fn visit(i: u32, g: u32, begin: u32, end: u32, base: u32) {
  for (var j = begin; j < end; j += 4u) {
    let j1 = min(j + 1u, end - 1u);
    let j2 = min(j + 2u, end - 1u);
    let j3 = min(j + 3u, end - 1u);
    let s = scores(vec4<u32>(j, j1, j2, j3), g);
    var seen = vec4<bool>(true, j + 1u < end, j + 2u < end, j + 3u < end);
    if (args.window > 0u) {
      let at = base + (j - begin);
      seen = seen & vec4<bool>(!hidden_by_window(i, at), !hidden_by_window(i, at + 1u), !hidden_by_window(i, at + 2u), !hidden_by_window(i, at + 3u));
    }
    let shown = select(vec4f(-3.4e38), s, seen);
    let next = max(top, max(max(shown.x, shown.y), max(shown.z, shown.w)));
    let keep = exp(top - next);
    let p = select(vec4f(0.0), exp(shown - next), seen);
    total = fma(total, keep, (p.x + p.y) + (p.z + p.w));
    let at0 = (j * G + g) * E;
    let at1 = (j1 * G + g) * E;
    let at2 = (j2 * G + g) * E;
    let at3 = (j3 * G + g) * E;
    // #for d ARRAYS
    for (var e = 0u; e < E; e++) {
      acc[e] = acc[e] * keep + ((p.x * v[at0 + e] + p.y * v[at1 + e]) + (p.z * v[at2 + e] + p.w * v[at3 + e]));
    }
    // #end
    // #for e NAMED
    a$e = a$e * keep + ((p.x * v[at0 + $eu] + p.y * v[at1 + $eu]) + (p.z * v[at2 + $eu] + p.w * v[at3 + $eu]));
    // #end
    top = next;
  }
}

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * H) { return; }
  let i = t / H;
  let g = (t % H) / (H / G);
  // #for d ARRAYS
  for (var e = 0u; e < E; e++) { qi[e] = q[t * E + e]; acc[e] = Vec(); }
  // #end
  // #for e NAMED
  q$e = q[t * E + $eu];
  // #end
  top = -3.4e38;
  total = 0.0;
  let s = span[i];
  visit(i, g, s.x, s.y, 0u);
  visit(i, g, s.z, i + 1u, s.y - s.x);
  let inverse = 1.0 / total;
  // #for d ARRAYS
  for (var e = 0u; e < E; e++) { o[t * E + e] = acc[e] * inverse; }
  // #end
  // #for e NAMED
  o[t * E + $eu] = a$e * inverse;
  // #end
  lse[t] = top + log(total);
}
