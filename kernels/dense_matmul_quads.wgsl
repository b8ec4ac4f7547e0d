// dense_matmul_quads: Y = X W^T + b for many tokens, W in f32, f16 or bf16: for devices that are a CPU.
//
//   weights                               see parts/dense: binding 0
//   x     [tokens, UNITS * 32] as vec4f   f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, 4                 u32   a uniform; the fourth is a number that compilers do not know
//                                               and so do not unroll by
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for 4 WORKGROUP rows x 16 tokens, rows first, folded over x and y
// parts:    dense, quads
// spec:     denseMatmul() in lib/linear_reference.ts

override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

// Four columns of the token of this lane among first .. first + 3.
fn token(first: u32, lane: u32, at: u32) -> vec4f {
  let stride = 8u * ((COLS + 31u) / 32u);
  return x[stride * min(first + lane % 4u, step.x - 1u) + at];
}

fn add(first: u32, lane: u32, at: u32, rows: mat4x4f) {
  add_quad(0u, token(first, lane, at), rows);
  add_quad(4u, token(first + 4u, lane, at), rows);
  add_quad(8u, token(first + 8u, lane, at), rows);
  add_quad(12u, token(first + 12u, lane, at), rows);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block_id: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the rows and tokens that are mine; those beyond the last repeat it
  let tiles = (ROWS + 4u * WORKGROUP - 1u) / (4u * WORKGROUP);
  let tile = block_id.y * blocks.x + block_id.x;
  let first_row = 4u * WORKGROUP * (tile % tiles) + lane;
  let first = 16u * (tile / tiles);
  if (first >= step.x) { return; } // uniform over the workgroup
  let mine = vec4u(first_row) + WORKGROUP * vec4u(0u, 1u, 2u, 3u);
  let rows = min(mine, vec4u(ROWS - 1u));

  // loop over the columns by eights, sixteen to a flush
  for (var eight = 0u; eight < EIGHTS; eight++) {
    let a = load8(rows.x, eight);
    let b = load8(rows.y, eight);
    let c = load8(rows.z, eight);
    let d = load8(rows.w, eight);
    add(first, lane, 2u * eight, mat4x4f(a.lo, b.lo, c.lo, d.lo));
    add(first, lane, 2u * eight + 1u, mat4x4f(a.hi, b.hi, c.hi, d.hi));
    if (eight % 16u == 15u) { flush(eight / 16u); }
  }
  finish();

  // write
  for (var j = 0u; j < 4u * step.w; j++) {
    for (var i = 0u; i < step.w; i++) {
      if (mine[i] < ROWS && first + j < step.x) {
        let at = FIRST_ROW + mine[i];
        let out = (first + j) * OUT_ROWS + at;
        let sum = sums[j][i] + select(0.0, bias[at], BIAS);
        y[out] = select(0.0, y[out], ADD) + sum;
      }
    }
  }
}
