  // The steps of one product; the next tile's loads are under way while this one is multiplied.
  let alpha = inverse(scales[args.slot_a]) * inverse(scales[args.slot_b]);
  let steps = (min(depth() - first, chunk()) + BK - 1u) / BK;
  var step = filled_from(0u, steps, m0, first);
  let begin = first + min(step, steps - 1u) * BK;
  // #for i LOADS_A
  var next_a$i = a[a_at(m0, begin, $iu * WG + local)];
  // #end
  // #for i LOADS_B
  var next_b$i = b_load(n0, begin, $iu * WG + local);
  // #end
  b_begin(local);
  while (step < steps) {
    workgroupBarrier();
    // #for i LOADS_A
    tiles[a_slot($iu * WG + local)] = next_a$i;
    // #end
    // #for i LOADS_B
    tiles[SIZE_A + b_slot($iu * WG + local)] = b_halves(next_b$i);
    // #end
    workgroupBarrier();
    step = filled_from(step + 1u, steps, m0, first);
    if (step < steps) {
      let k0 = first + step * BK;
      // #for i LOADS_A
      next_a$i = a[a_at(m0, k0, $iu * WG + local)];
      // #end
      // #for i LOADS_B
      next_b$i = b_load(n0, k0, $iu * WG + local);
      // #end
    }
// #use lib/product_multiply
  }
