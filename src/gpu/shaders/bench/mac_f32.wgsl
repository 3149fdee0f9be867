// f32 multiply-adds in registers alone: ACCS vectors of four per thread, `loops` times.   The store never happens, but the compiler cannot know that.
@compute @workgroup_size(WG)
fn ENTRY(@builtin(local_invocation_index) local: u32) {
  let factor = vec4f(args.seed, 1.0, args.seed, 1.0);
  // #for i ACCS
  var acc$i = vec4f(f32(local) + $i.0);
  // #end
  for (var n = 0u; n < args.loops; n++) {
    // #for i ACCS
    acc$i = fma(acc$i, factor, factor);
    // #end
  }
  var sum = vec4f();
  // #for i ACCS
  sum += acc$i;
  // #end
  if (args.seed < 0.0) { out[local] = sum.x + sum.y + sum.z + sum.w; }
}
