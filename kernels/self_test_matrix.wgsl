// self_test_matrix: one product of two fragments, to see that a device's matrix units compute what
// parts/fragments asks of them, every position of theirs, and sum in f32.
//
//   a  [16, 2] as vec4u   f16   row i of A [16, 16]
//   b  [16, 2] as vec4u   f16   column j of B [16, 16]
//   y  [16, 16]           f32   by column: A B at 16 j + i
//
// dispatch: one workgroup of one subgroup
// parts:    none
// spec:     expectedFragments() in lib/arithmetic.ts

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;

override WORKGROUP: u32 = 32;

@group(0) @binding(0) var<storage, read> a: array<vec4u>;
@group(0) @binding(1) var<storage, read> b: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Nine a row or column, as in parts/fragments.
var<workgroup> tile_a: array<vec4u, 144>;
var<workgroup> tile_b: array<vec4u, 144>;
var<workgroup> corner: array<f32, 256>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < 32u; i += WORKGROUP) {
    tile_a[9u * (i / 2u) + i % 2u] = a[i];
    tile_b[9u * (i / 2u) + i % 2u] = b[i];
  }
  workgroupBarrier();
  let left = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tile_a, 0u, 9u);
  let right = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tile_b, 0u, 9u);
  var sum: subgroup_matrix_result<f32, 16, 16>;
  sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
  subgroupMatrixStore<col_major>(&corner, 0u, sum, 16u);
  workgroupBarrier();
  for (var i = lane; i < 256u; i += WORKGROUP) { y[i] = corner[i]; }
}
