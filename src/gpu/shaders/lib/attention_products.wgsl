// Inside a pass of the backward: the products of its own rows (OWN_A, OWN_B in storage, OWN_STRIDE vec4s a row, from own_at; in registers a$m_$c and b$m_$c where REG)
// with a block's rows in workgroup memory (BLOCK_A, BLOCK_B). Scores go to s, those of dout and v to dp; a barrier follows.
// #for m TM
// #for n TN
var s$m_$n = subgroup_matrix_result<f32, MN, MM>();
var p$m_$n = subgroup_matrix_result<f32, MN, MM>();
// #end
// #end
// #for d REG
// #for c KC
// #for n TN
{
  let at = ((sub_n * TN + $nu) * MN) * PITCH_K + $cu * (MK / 8u);
  let r = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, col_major>(&BLOCK_A, at, PITCH_K);
  let t = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, col_major>(&BLOCK_B, at, PITCH_K);
  // #for m TM
  s$m_$n = subgroupMatrixMultiplyAccumulate(a$m_$c, r, s$m_$n);
  p$m_$n = subgroupMatrixMultiplyAccumulate(b$m_$c, t, p$m_$n);
  // #end
}
// #end
// #end
// #end
// #for d MEM
for (var c = 0u; c < KC; c++) {
  // #for m TM
  let a$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&OWN_A, own_at + $mu * MM * OWN_STRIDE + c * (MK / 8u), OWN_STRIDE);
  let b$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, row_major>(&OWN_B, own_at + $mu * MM * OWN_STRIDE + c * (MK / 8u), OWN_STRIDE);
  // #end
  // #for n TN
  {
    let at = ((sub_n * TN + $nu) * MN) * PITCH_K + c * (MK / 8u);
    let r = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, col_major>(&BLOCK_A, at, PITCH_K);
    let t = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, col_major>(&BLOCK_B, at, PITCH_K);
    // #for m TM
    s$m_$n = subgroupMatrixMultiplyAccumulate(a$m, r, s$m_$n);
    p$m_$n = subgroupMatrixMultiplyAccumulate(b$m, t, p$m_$n);
    // #end
  }
  // #end
}
// #end
// #for m TM
// #for n TN
subgroupMatrixStore<row_major>(&s, (sub_m + $mu * MM) * PITCH_S + (sub_n * TN + $nu) * (MN / 4u), s$m_$n, PITCH_S);
subgroupMatrixStore<row_major>(&dp, (sub_m + $mu * MM) * PITCH_S + (sub_n * TN + $nu) * (MN / 4u), p$m_$n, PITCH_S);
// #end
// #end
workgroupBarrier();
