// Sums of squares of a gradient, read four at a time; the shader repeats `squares_$i` for each gradient it binds, grad_$i.
// Eight loads of a lane are under way at once; they are added one after the other whatever their number, so that a sum's bits do not depend on it.
// Up to three elements stand after the last whole four, beside which there may be anything.
// #for i COUNT
fn squares_$i(first: u32, count: u32, lane: u32, lanes: u32) -> f32 {
  let end = first + count / 4u;
  var sum = vec4f();
  var j = first + lane;
  for (; j + 7u * lanes < end; j += 8u * lanes) {
    let a = grad_$i[j];
    let b = grad_$i[j + lanes];
    let c = grad_$i[j + 2u * lanes];
    let d = grad_$i[j + 3u * lanes];
    let e = grad_$i[j + 4u * lanes];
    let f = grad_$i[j + 5u * lanes];
    let g = grad_$i[j + 6u * lanes];
    let h = grad_$i[j + 7u * lanes];
    sum = fma(d, d, fma(c, c, fma(b, b, fma(a, a, sum))));
    sum = fma(h, h, fma(g, g, fma(f, f, fma(e, e, sum))));
  }
  for (; j < end; j += lanes) { sum = fma(grad_$i[j], grad_$i[j], sum); }
  if (lane == 0u && count % 4u != 0u) {
    let rest = select(vec4f(), grad_$i[end], vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count % 4u));
    sum = fma(rest, rest, sum);
  }
  return lane_sum((sum.x + sum.y) + (sum.z + sum.w));
}
// #end
