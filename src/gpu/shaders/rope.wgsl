// Turns pairs (c, c + R/2) of every head, a bias added first where there is one, by the angle of the row's position, in place; SIGN -1 turns back (backward).
// x [N, W = heads*C], of each head the first R; table [T, R] (cos, then sin), its row `first` that of position 0; position [N]; x and table as Vec (four elements or one).
// One thread per pair of Vecs.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let half = args.R / 2u / WIDTH;
  let pairs = args.W / args.C * half;
  if (t >= args.N * pairs) { return; }
  let n = t / pairs;
  let pair = t % pairs;
  let c = pair % half;
  let column = (pair / half) * (args.C / WIDTH) + c;
  let at = n * (args.W / WIDTH) + column;
  let angle = (args.first + position[n]) * (args.R / WIDTH) + c;
  let co = table[angle];
  let si = table[angle + half] * args.sign;
  let a = biased(x[at], column);
  let b = biased(x[at + half], column + half);
  // fma, so that no compiler chooses how it rounds: a product that turns its result itself (lib/result_rows) gives the same bits.
  x[at] = fma(a, co, -(b * si));
  x[at + half] = fma(b, co, a * si);
}
