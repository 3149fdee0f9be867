// dq_i = sum_j ds_ij k_j, ds = p (dp - delta) * slope, p = exp(s - lse), dp = dout_i . v_j.
// Shapes as attention.fwd.   One thread per (row, head).
// #use lib/grid
// #use lib/attention_score
// #use lib/attention_window
var<private> qi: array<Vec, E>;
var<private> di: array<Vec, E>;
var<private> acc: array<Vec, E>;

fn visit(i: u32, t: u32, g: u32, begin: u32, end: u32) {
  let norm = lse[t];
  let mean = delta[t];
  for (var j = begin; j < end; j++) {
    if (hidden_by_window(i, position[j])) { continue; }
    let at = (j * G + g) * E;
    var product = 0.0;
    var dp = 0.0;
    for (var e = 0u; e < E; e++) {
      product += inner(qi[e], k[at + e]);
      dp += inner(di[e], v[at + e]);
    }
    let s = score(product);
    let ds = exp(s - norm) * (dp - mean) * score_slope(s);
    for (var e = 0u; e < E; e++) { acc[e] += ds * k[at + e]; }
  }
}

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * H) { return; }
  let i = t / H;
  let g = (t % H) / (H / G);
  for (var e = 0u; e < E; e++) { qi[e] = q[t * E + e]; di[e] = dout[t * E + e]; acc[e] = Vec(); }
  let s = span[i];
  visit(i, t, g, s.x, s.y);
  visit(i, t, g, s.z, i + 1u);
  for (var e = 0u; e < E; e++) { dq[t * E + e] = acc[e]; }
}
