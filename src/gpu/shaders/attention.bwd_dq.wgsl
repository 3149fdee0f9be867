// dq_i = sum_j ds_ij k_j, ds = p (dp - delta) * slope, p = exp(s - lse), dp = dout_i . v_j.
// Shapes as attention.fwd.   One thread per (row, head).
// #use lib/grid
// #use lib/attention_score
// #use lib/attention_window
// #for d ARRAYS
var<private> qi: array<Vec, E>;
var<private> di: array<Vec, E>;
var<private> acc: array<Vec, E>;
// #end
// #for e NAMED
var<private> q$e: Vec;
var<private> d$e: Vec;
var<private> a$e: Vec;
// #end

fn visit(i: u32, t: u32, g: u32, begin: u32, end: u32) {
  let norm = lse[t];
  let mean = delta[t];
  for (var j = begin; j < end; j++) {
    if (hidden_by_window(i, position[j])) { continue; }
    let at = (j * G + g) * E;
    var product = 0.0;
    var dp = 0.0;
    // #for d ARRAYS
    for (var e = 0u; e < E; e++) {
      product += inner(qi[e], k[at + e]);
      dp += inner(di[e], v[at + e]);
    }
    // #end
    // #for e NAMED
    let k$e = k[at + $eu];
    product += inner(q$e, k$e);
    dp += inner(d$e, v[at + $eu]);
    // #end
    let s = score(product);
    let ds = exp(s - norm) * (dp - mean) * score_slope(s);
    // #for d ARRAYS
    for (var e = 0u; e < E; e++) { acc[e] += ds * k[at + e]; }
    // #end
    // #for e NAMED
    a$e += ds * k$e;
    // #end
  }
}

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * H) { return; }
  let i = t / H;
  let g = (t % H) / (H / G);
  // #for d ARRAYS
  for (var e = 0u; e < E; e++) { qi[e] = q[t * E + e]; di[e] = dout[t * E + e]; acc[e] = Vec(); }
  // #end
  // #for e NAMED
  q$e = q[t * E + $eu];
  d$e = dout[t * E + $eu];
  // #end
  let s = span[i];
  visit(i, t, g, s.x, s.y);
  visit(i, t, g, s.z, i + 1u);
  // #for d ARRAYS
  for (var e = 0u; e < E; e++) { dq[t * E + e] = acc[e]; }
  // #end
  // #for e NAMED
  dq[t * E + $eu] = a$e;
  // #end
}
