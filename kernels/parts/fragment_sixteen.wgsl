// fragment: what matrix units multiply, [M, K] by [K, N]: here 16 x 16 x 16, as NVIDIA's GPUs have it.
//
// needs:    matrix units that take f16 fragments of this shape and give f32
// gives:    M, N, K, Left, Right, Sum

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;

const M: u32 = 16;
const N: u32 = 16;
const K: u32 = 16;

alias Left = subgroup_matrix_left<f16, K, M>;
alias Right = subgroup_matrix_right<f16, N, K>;
alias Sum = subgroup_matrix_result<f32, N, M>;
