// dv_j = sum_i p_ij dout_i, dk_j = sum_i ds_ij q_i over the rows i in [j, visEnd_j) that see j and the heads of the group.
// Shapes as attention.fwd.   One thread per (key row, key/value head).
// #use lib/grid
// #use lib/attention_score
// #use lib/attention_window
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * G) { return; }
  let j = t / G;
  let g = t % G;
  // #for d ARRAYS
  var kj: array<Vec, E>;
  var vj: array<Vec, E>;
  var dkj: array<Vec, E>;
  var dvj: array<Vec, E>;
  for (var e = 0u; e < E; e++) { kj[e] = k[t * E + e]; vj[e] = v[t * E + e]; dkj[e] = Vec(); dvj[e] = Vec(); }
  // #end
  // #for e NAMED
  let k$e = k[t * E + $eu];
  let v$e = v[t * E + $eu];
  var dk$e = Vec();
  var dv$e = Vec();
  // #end
  let end = span[j].w;
  for (var i = j; i < end; i++) {
    if (hidden_by_window(i, position[j])) { continue; }
    for (var h = g * (H / G); h < (g + 1u) * (H / G); h++) {
      let r = i * H + h;
      let at = r * E;
      var product = 0.0;
      var dp = 0.0;
      // #for d ARRAYS
      for (var e = 0u; e < E; e++) {
        product += inner(q[at + e], kj[e]);
        dp += inner(dout[at + e], vj[e]);
      }
      // #end
      // #for e NAMED
      let q$e = q[at + $eu];
      let d$e = dout[at + $eu];
      product += inner(q$e, k$e);
      dp += inner(d$e, v$e);
      // #end
      let s = score(product);
      let p = exp(s - lse[r]);
      let ds = p * (dp - delta[r]) * score_slope(s);
      // #for d ARRAYS
      for (var e = 0u; e < E; e++) {
        dvj[e] += p * dout[at + e];
        dkj[e] += ds * q[at + e];
      }
      // #end
      // #for e NAMED
      dv$e += p * d$e;
      dk$e += ds * q$e;
      // #end
    }
  }
  // #for d ARRAYS
  for (var e = 0u; e < E; e++) { dk[t * E + e] = dkj[e]; dv[t * E + e] = dvj[e]; }
  // #end
  // #for e NAMED
  dk[t * E + $eu] = dk$e;
  dv[t * E + $eu] = dv$e;
  // #end
}
