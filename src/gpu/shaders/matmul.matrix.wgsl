// C[m,n] = start + alpha Σ_k A[m,k] B[k,n] in f16 matrices with f32 sums; alpha undoes the operands' scales (powers of two).   Operands are f16, eight to a
// vec4<u32>, in blocks (lib/operand_layout.wgsl), padded to tiles with zeros, so no load is checked; B may also be a frozen weight as it is kept.   A workgroup makes BM x BN; a
// subgroup TM x TN matrices of it. The next tile's loads are under way while this one is multiplied. Per form (ops/matmul_matrix_kernels.ts): rows(), cols(), depth(), chunk(), a_at(),
// a_slot(), a_in() and b's, y_row(), start() and put() of four columns, finish() after all of them; b_begin(), b_load(), b_halves() (ops/matmul_loads.ts);
// filled_from() (ops/filled.ts), the next step that is made.
// #use lib/grid
// #use lib/operand_layout
// #use lib/halves
// #use lib/inverse
// #use lib/result_f32
// A's tile, then B's; after the loop results in f32, as bits.
var<workgroup> tiles: array<vec4<u32>, TILES>;

// Of the e-th of the vec4s that stand there at once (the last one's number if there are fewer), and the row of the workgroup's tile that it is of in round (m, g).
fn staged(e: u32) -> u32 { return select(min(e, STAGED - 1u), e, EVEN == 1u); }
fn staged_row(e: u32, m: u32, g: u32) -> u32 {
  let r = staged(e) / (BN / 4u);
  return ((g * AT_ONCE + r / MM) * TM + m) * MM + r % MM;
}

@compute @workgroup_size(WG) @SUBGROUP
fn ENTRY(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let all = linear_group(group, groups);
  let tiles_m = (rows() + BM - 1u) / BM;
  let tiles_n = (cols() + BN - 1u) / BN;
  // Where the depth is cut into ranges (chunk() < depth()), each has a result of its own.
  let part = all / (tiles_m * tiles_n);
  let id = all % (tiles_m * tiles_n);
  let first = part * chunk();
  if (first >= depth()) { return; }
  // Bands of four rows of tiles, so that neighbours in time share operands in the cache.
  let band = id / (4u * tiles_n);
  let height = min(4u, tiles_m - band * 4u);
  let within = id - band * 4u * tiles_n;
  let m0 = (band * 4u + within % height) * BM;
  let n0 = (within / height) * BN;
  let sub_m = (subgroup / WN) * (TM * MM);
  let sub_n = (subgroup % WN) * (TN * MN);
  let whole = m0 + BM <= rows() && n0 + BN <= cols() && args.Y % 4u == 0u;
  let pitch_y = args.Y / WIDTH;
  let y0 = (y_row(m0, part) + sub_m) * pitch_y + (n0 + sub_n) / WIDTH;

  // #for m TM
  // #for n TN
  var acc$m_$n = subgroup_matrix_result<f32, MN, MM>();
  // #end
  // #end
  // #for d IN_PLACE
  if (whole) {
    let beta = scales[args.slot_a] * scales[args.slot_b];
    // #for m TM
    // #for n TN
    acc$m_$n = subgroupMatrixScalarMultiply(subgroupMatrixLoad<subgroup_matrix_result<f32, MN, MM>, row_major>(&y, y0 + $mu * MM * pitch_y + $nu * (MN / WIDTH), pitch_y), beta);
    // #end
    // #end
  }
  // #end

// #use lib/product_steps

  // #for d DIRECT
  if (whole) {
    // #for m TM
    // #for n TN
    subgroupMatrixStore<row_major>(&y, y0 + $mu * MM * pitch_y + $nu * (MN / WIDTH), subgroupMatrixScalarMultiply(acc$m_$n, alpha), pitch_y);
    // #end
    // #end
    return;
  }
  // #end
  // Through workgroup memory, a row of matrices of every (AT_ONCE: or of some) row of subgroups at a time: a row of the tile goes to lanes beside each other, by fours, which
  // keep to the edges and add what is added to the sum. That never starts the matrices' own sums: tensor cores cut off what is small beside the largest summand, and a
  // residual is large. So a row has the same bits at an edge and in a whole tile.
  // #for m TM
  // #for g ROUNDS
  // #for i PUTS
  let row$m_$g_$i = m0 + staged_row($iu * WG + local, $mu, $gu);
  let col$m_$g_$i = n0 + staged($iu * WG + local) % (BN / 4u) * 4u;
  let start$m_$g_$i = start(row$m_$g_$i, col$m_$g_$i);
  // #end
  workgroupBarrier();
  if (ROUNDS == 1u || subgroup / WN == $gu) {
    let at = (subgroup / WN % AT_ONCE) * MM * PITCH_Y + sub_n / 4u;
    // #for n TN
    subgroupMatrixStore<row_major>(&tiles, at + $nu * (MN / 4u), acc$m_$n, PITCH_Y);
    // #end
  }
  workgroupBarrier();
  // #for i PUTS
  if (EVEN == 1u || $iu * WG + local < STAGED) {
    let e = staged($iu * WG + local);
    put(row$m_$g_$i, col$m_$g_$i, part, start$m_$g_$i, alpha, e / (BN / 4u) * PITCH_Y + e % (BN / 4u));
  }
  // #end
  // #end
  // #end
  finish();
}
