// dense_matmul_matrix: Y = X W^T + b for many tokens, W in f16, by matrix units: `--matrix-units`.
//
//   weights                               see parts/dense: binding 0
//   half_x, factors                       see parts/fragments
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   as in matmul_matrix.wgsl
//   step  tokens, -, -, -                 u32   a uniform: any batch up to MOST is one kernel
//
// With m the largest |x| of the token, against f64,
//   |y - ref| <= 2^-9 sum |x w| + 2^-24 m sum |w|
//
// dispatch: SPLIT workgroups a tile of parts/fragments, tiles of rows first, folded over x and y
// parts:    dense, fragment, place, fragments
// spec:     denseMatmul() in lib/linear_reference.ts

@group(0) @binding(1) var<storage, read> half_x: array<vec4u>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> factors: array<f32>;
@group(0) @binding(5) var<uniform> step: vec4u;

// 32 columns.
alias Fetched = array<vec4u, 4>;

fn fetch(row: u32, unit: u32) -> Fetched {
  var pieces: Fetched;
  for (var i = 0u; i < 4u; i++) { pieces[i] = weights[row * EIGHTS + min(4u * unit + i, EIGHTS - 1u)]; }
  return pieces;
}

fn half8(fetched: Fetched, i: u32) -> vec4u {
  return fetched[i];
}

fn factor_of(row: u32, token: u32) -> f32 {
  return factors[token];
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  make_tile(id.y * ids.x + id.x, lane, subgroup);
}
