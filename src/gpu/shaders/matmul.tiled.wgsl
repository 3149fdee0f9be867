// C[m,n] = start + Σ_k A[m,k] B[k,n] in f32 through workgroup memory.   A workgroup makes BM x BN, a thread 4 RM x 4 RN of it in quads of rows TY and of columns TX
// apart; both operands stand in workgroup memory as quads along the tile, k by k. The next tile's loads are under way while this one is multiplied.
// A sum runs over k in order, one fma after another from 0: its bits depend on no tile size and on no other row.
// Per form (ops/matmul_tiled.ts): rows(), cols(), depth(), chunk(), a_c(), a_kb(), a_block(), a_turned() and those of b, put_y().
// #use lib/grid
var<workgroup> tile_a: array<vec4f, SIZE_A>;
var<workgroup> tile_b: array<vec4f, SIZE_B>;

// A block is 4 k x one quad. Blocks of A come first; kb is its place along k, c along the tile. Threads may be left over in the last round.
fn fetch(m0: u32, n0: u32, k0: u32, id: u32) -> mat4x4f {
  if (id < BLOCKS_A) { return a_block(m0 + 4u * a_c(id), k0 + 4u * a_kb(id)); }
  if (ROUNDS * WG > BLOCKS && id >= BLOCKS) { return mat4x4f(); }
  return b_block(n0 + 4u * b_c(id - BLOCKS_A), k0 + 4u * b_kb(id - BLOCKS_A));
}
// A block is turned only here: done as it is loaded, the load would have to be waited for.
// Quads of different kb are moved apart, so that eight threads beside each other write to different banks.
fn keep(id: u32, block: mat4x4f) {
  if (id < BLOCKS_A) {
    let v = a_turned(block);
    let at = 4u * a_kb(id) * QUADS_A + (a_c(id) ^ (a_kb(id) * TWIST));
    // #for j 4
    tile_a[at + $ju * QUADS_A] = v[$j];
    // #end
  } else if (ROUNDS * WG == BLOCKS || id < BLOCKS) {
    let v = b_turned(block);
    let kb = b_kb(id - BLOCKS_A);
    let at = 4u * kb * QUADS_B + (b_c(id - BLOCKS_A) ^ (kb * TWIST));
    // #for j 4
    tile_b[at + $ju * QUADS_B] = v[$j];
    // #end
  }
}

@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let id = linear_group(group, groups);
  let tiles_m = (rows() + BM - 1u) / BM;
  let tiles_n = (cols() + BN - 1u) / BN;
  let part = id / (tiles_m * tiles_n);
  let first = part * chunk();
  if (first >= depth()) { return; }
  let end = min(depth(), first + chunk());
  // Bands of eight rows of tiles, so that neighbours in time share operands in the cache.
  let tile = id % (tiles_m * tiles_n);
  let band = tile / (8u * tiles_n);
  let height = min(8u, tiles_m - band * 8u);
  let within = tile - band * 8u * tiles_n;
  let m0 = (band * 8u + within % height) * BM;
  let n0 = (within / height) * BN;
  // 32 threads make a patch of 4 x 8 quads.
  let tx = local % 8u + 8u * ((local / 32u) % (TX / 8u));
  let ty = (local / 8u) % 4u + 4u * (local / 32u / (TX / 8u));

  // #for m RM
  // #for r 4
  // #for n RN
  var acc$m$r$n = vec4f();
  // #end
  // #end
  // #end
  // #for i ROUNDS
  var next$i = fetch(m0, n0, first, $iu * WG + local);
  // #end
  for (var k0 = first; k0 < end; k0 += BK) {
    workgroupBarrier();
    // #for i ROUNDS
    keep($iu * WG + local, next$i);
    // #end
    workgroupBarrier();
    if (k0 + BK < end) {
      // #for i ROUNDS
      next$i = fetch(m0, n0, k0 + BK, $iu * WG + local);
      // #end
    }
    for (var kb = 0u; kb < KB; kb += UNROLL) {
      // #for b UNROLL
      let at_a$b = 4u * (kb + $bu) * QUADS_A + (ty ^ ((kb + $bu) * TWIST));
      let at_b$b = 4u * (kb + $bu) * QUADS_B + (tx ^ ((kb + $bu) * TWIST));
      // #for k 4
      {
        // #for n RN
        let right$n = tile_b[at_b$b + $ku * QUADS_B + $nu * TX];
        // #end
        // #for m RM
        let left$m = tile_a[at_a$b + $ku * QUADS_A + $mu * TY];
        // #for r 4
        // #for n RN
        acc$m$r$n = fma(vec4f(left$m[$r]), right$n, acc$m$r$n);
        // #end
        // #end
        // #end
      }
      // #end
      // #end
    }
  }
  // #for m RM
  // #for r 4
  // #for n RN
  put_y(m0 + 4u * (ty + $mu * TY) + $ru, n0 + 4u * (tx + $nu * TX), part, acc$m$r$n);
  // #end
  // #end
  // #end
}
