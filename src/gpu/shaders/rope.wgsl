// Turns pairs (c, c + C/2) of every head by the angle of the row's position, in place; SIGN -1 turns back (backward).
// x [N, W = heads*C], table [T, C] (cos, then sin), position [N].   One thread per pair.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let half = args.C / 2u;
  let pairs = args.W / 2u;
  if (t >= args.N * pairs) { return; }
  let n = t / pairs;
  let pair = t % pairs;
  let c = pair % half;
  let at = n * args.W + (pair / half) * args.C + c;
  let angle = position[n] * args.C + c;
  let co = table[angle];
  let si = table[angle + half] * args.sign;
  let a = x[at];
  let b = x[at + half];
  x[at] = a * co - b * si;
  x[at + half] = b * co + a * si;
}
