// Turns pairs (c, c + R/2) of every head by the angle of the row's position, in place; SIGN -1 turns back (backward).
// x [N, W = heads*C], of each head the first R; table [T, R] (cos, then sin), its row `first` that of position 0; position [N].   One thread per pair.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let half = args.R / 2u;
  let pairs = args.W / args.C * half;
  if (t >= args.N * pairs) { return; }
  let n = t / pairs;
  let pair = t % pairs;
  let c = pair % half;
  let at = n * args.W + (pair / half) * args.C + c;
  let angle = (args.first + position[n]) * args.R + c;
  let co = table[angle];
  let si = table[angle + half] * args.sign;
  let a = x[at];
  let b = x[at + half];
  x[at] = a * co - b * si;
  x[at + half] = b * co + a * si;
}
