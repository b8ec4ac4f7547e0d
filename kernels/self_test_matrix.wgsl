// self_test_matrix: one product of two fragments, to see that a device's matrix units compute what
// parts/fragments asks of them, every position of theirs, and sum in f32.
//
//   a  [M, K / 8] as vec4u   f16   row i of A [M, K]
//   b  [N, K / 8] as vec4u   f16   column j of B [K, N]
//   y  [N, M]                f32   by column: A B at M j + i
//
// dispatch: one workgroup of one subgroup
// parts:    fragment
// spec:     expectedFragments() in lib/arithmetic.ts

override WORKGROUP: u32 = 32;

@group(0) @binding(0) var<storage, read> a: array<vec4u>;
@group(0) @binding(1) var<storage, read> b: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const PIECES: u32 = K / 8u;

// Nine a row or column, as in parts/fragments.
var<workgroup> tile_a: array<vec4u, 9u * M>;
var<workgroup> tile_b: array<vec4u, 9u * N>;
var<workgroup> corner: array<f32, M * N>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < M * PIECES; i += WORKGROUP) { tile_a[9u * (i / PIECES) + i % PIECES] = a[i]; }
  for (var i = lane; i < N * PIECES; i += WORKGROUP) { tile_b[9u * (i / PIECES) + i % PIECES] = b[i]; }
  workgroupBarrier();
  let left = subgroupMatrixLoad<Left, row_major>(&tile_a, 0u, 9u);
  let right = subgroupMatrixLoad<Right, col_major>(&tile_b, 0u, 9u);
  var sum: Sum;
  sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
  subgroupMatrixStore<col_major>(&corner, 0u, sum, M);
  workgroupBarrier();
  for (var i = lane; i < M * N; i += WORKGROUP) { y[i] = corner[i]; }
}
