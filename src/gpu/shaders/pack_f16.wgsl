// An operand of matmul.matrix from x [M, Y], of which I columns count; read by weight(), four elements at a time where rows and columns are whole fours.
// #use lib/pack_f16
