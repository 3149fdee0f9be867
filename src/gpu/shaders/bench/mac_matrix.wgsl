// Matrix multiply-accumulates in registers alone: ACCS independent sums per subgroup, `loops` times.   The store never happens (`seed` is not negative), but
// the compiler cannot know that.
@compute @workgroup_size(WG) @SUBGROUP
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>) {
  let left = subgroup_matrix_left<COMPONENT, MK, MM>(FILL(args.seed));
  let right = subgroup_matrix_right<COMPONENT, MN, MK>(FILL(args.seed));
  // #for i ACCS
  var acc$i = subgroup_matrix_result<RESULT, MN, MM>();
  // #end
  for (var n = 0u; n < args.loops; n++) {
    // #for i ACCS
    acc$i = subgroupMatrixMultiplyAccumulate(left, right, acc$i);
    // #end
  }
  if (args.seed < 0.0) {
    // #for i ACCS
    subgroupMatrixStore<row_major>(&out, $iu * MM * MN, acc$i, MN);
    // #end
  }
}
