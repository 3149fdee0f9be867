// y[n,h,r] = x[n,h,:] . pos[r,h,:] for the columns first <= r < first + count.   x [N, H*C], pos [R, H*C], y [N, H*R].
// Lanes hold different rows (n and n + WG) and share 16 columns of one head, so every read of pos is one for all lanes.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let g = linear_group(group, groups);
  let blocks = (args.count + 15u) / 16u;
  let c = args.first + (g % blocks) * 16u;
  let h = (g / blocks) % H;
  let first = (g / blocks / H) * 2u * WG;
  if (first >= args.N) { return; }
  let n = first + local;
  let x0 = (min(n, args.N - 1u) * H + h) * E;
  let x1 = (min(n + WG, args.N - 1u) * H + h) * E;
  var p0 = vec4f(); var p1 = vec4f(); var p2 = vec4f(); var p3 = vec4f();
  var q0 = vec4f(); var q1 = vec4f(); var q2 = vec4f(); var q3 = vec4f();
  for (var e = 0u; e < E; e++) {
    let a = x[x0 + e];
    let b = x[x1 + e];
    let w00 = at(c, h, e); let w01 = at(c + 1u, h, e); let w02 = at(c + 2u, h, e); let w03 = at(c + 3u, h, e);
    let w10 = at(c + 4u, h, e); let w11 = at(c + 5u, h, e); let w12 = at(c + 6u, h, e); let w13 = at(c + 7u, h, e);
    let w20 = at(c + 8u, h, e); let w21 = at(c + 9u, h, e); let w22 = at(c + 10u, h, e); let w23 = at(c + 11u, h, e);
    let w30 = at(c + 12u, h, e); let w31 = at(c + 13u, h, e); let w32 = at(c + 14u, h, e); let w33 = at(c + 15u, h, e);
    p0 += vec4f(inner(a, w00), inner(a, w01), inner(a, w02), inner(a, w03)); q0 += vec4f(inner(b, w00), inner(b, w01), inner(b, w02), inner(b, w03));
    p1 += vec4f(inner(a, w10), inner(a, w11), inner(a, w12), inner(a, w13)); q1 += vec4f(inner(b, w10), inner(b, w11), inner(b, w12), inner(b, w13));
    p2 += vec4f(inner(a, w20), inner(a, w21), inner(a, w22), inner(a, w23)); q2 += vec4f(inner(b, w20), inner(b, w21), inner(b, w22), inner(b, w23));
    p3 += vec4f(inner(a, w30), inner(a, w31), inner(a, w32), inner(a, w33)); q3 += vec4f(inner(b, w30), inner(b, w31), inner(b, w32), inner(b, w33));
  }
  store(n, h, c, p0); store(n, h, c + 4u, p1); store(n, h, c + 8u, p2); store(n, h, c + 12u, p3);
  store(n + WG, h, c, q0); store(n + WG, h, c + 4u, q1); store(n + WG, h, c + 8u, q2); store(n + WG, h, c + 12u, q3);
}
fn at(r: u32, h: u32, e: u32) -> Vec { return pos[(min(r, args.first + args.count - 1u) * H + h) * E + e]; }
fn store(n: u32, h: u32, r: u32, s: vec4f) {
  if (n >= args.N) { return; }
  let end = args.first + args.count;
  let to = (n * H + h) * args.R + r;
  if (r < end) { y[to] = s.x; }
  if (r + 1u < end) { y[to + 1u] = s.y; }
  if (r + 2u < end) { y[to + 2u] = s.z; }
  if (r + 3u < end) { y[to + 3u] = s.w; }
}
