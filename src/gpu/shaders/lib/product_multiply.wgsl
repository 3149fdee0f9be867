    // A step's matrices, from workgroup memory.
    // #for k KS
    {
      // #for m TM
      let left$m = subgroupMatrixLoad<subgroup_matrix_left<f16, MK, MM>, LAYOUT_A>(&tiles, a_in(sub_m + $mu * MM, $ku * MK), PITCH_A);
      // #end
      // #for n TN
      let right$n = subgroupMatrixLoad<subgroup_matrix_right<f16, MN, MK>, LAYOUT_B>(&tiles, SIZE_A + b_in(sub_n + $nu * MN, $ku * MK), PITCH_B);
      // #for m TM
      acc$m_$n = subgroupMatrixMultiplyAccumulate(left$m, right$n, acc$m_$n);
      // #end
      // #end
    }
    // #end
