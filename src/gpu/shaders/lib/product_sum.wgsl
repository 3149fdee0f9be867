  // The steps of TERMS products that add up, one depth behind the other: the term with the largest unit (the product of its operands' scales) first, so that sums only
  // shrink where the next one begins (ops/product_sum.ts). `term` is the one whose tiles are loaded, `k0` how far.
  var unit = vec3f();
  // #for s TERMS
  unit[$s] = scales[args.slot_a$s] * scales[args.slot_b$s];
  // #end
  let order = by_unit(unit);
  let alpha = inverse(unit[order[TERMS - 1u]]);
  var term = order[0];
  var k0 = 0u;
  // #for i LOADS_A
  var next_a$i = vec4<u32>();
  // #end
  // #for i LOADS_B
  var next_b$i = vec4<u32>();
  // #end
  switch term {
    default: {}
    // #for s TERMS
    case $su: {
      // #for i LOADS_A
      next_a$i = a$s[a_at(m0, k0, $iu * WG + local, args.sa$s)];
      // #end
      // #for i LOADS_B
      next_b$i = b$s[b_at(n0, k0, $iu * WG + local)];
      // #end
    }
    // #end
  }
  for (var made = 0u; made < TERMS; made++) {
    let now = order[made];
    for (var left = (depth_of(now) + BK - 1u) / BK; left > 0u; left--) {
      workgroupBarrier();
      // #for i LOADS_A
      tiles[a_slot($iu * WG + local)] = next_a$i;
      // #end
      // #for i LOADS_B
      tiles[SIZE_A + b_slot($iu * WG + local)] = next_b$i;
      // #end
      workgroupBarrier();
      k0 += BK;
      if (left == 1u) {
        term = order[min(made + 1u, TERMS - 1u)];
        k0 = 0u;
      }
      if (left > 1u || made + 1u < TERMS) {
        let stride = stride_of(term);
        // #for i LOADS_A
        let from_a$i = a_at(m0, k0, $iu * WG + local, stride);
        // #end
        // #for i LOADS_B
        let from_b$i = b_at(n0, k0, $iu * WG + local);
        // #end
        switch term {
          default: {}
          // #for s TERMS
          case $su: {
            // #for i LOADS_A
            next_a$i = a$s[from_a$i];
            // #end
            // #for i LOADS_B
            next_b$i = b$s[from_b$i];
            // #end
          }
          // #end
        }
      }
// #use lib/product_multiply
    }
    if (made + 1u < TERMS) {
      let shrink = unit[order[made + 1u]] * inverse(unit[now]);
      // #for m TM
      // #for n TN
      acc$m_$n = subgroupMatrixScalarMultiply(acc$m_$n, shrink);
      // #end
      // #end
    }
  }
