// dense_matmul_quads: Y = X W^T + b for several tokens, W in f32, f16 or bf16: for devices that are a CPU.
//
//   weights                               see parts/dense: binding 0
//   x     [tokens, UNITS * 32] as vec4f   f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, 4                 u32   a uniform; the fourth is a number that compilers do not know
//                                               and so do not unroll by
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for 8 WORKGROUP rows x TOKENS tokens, rows first, folded over x and y
// parts:    dense, quads
// spec:     denseMatmul() in lib/linear_reference.ts

override ROW_FOURS: u32 = 8u * ((COLS + 31u) / 32u);

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

// Eight columns of four rows.
fn four_rows(rows: vec4u, eight: u32) -> FourRows {
  let a = load8(rows.x, eight);
  let b = load8(rows.y, eight);
  let c = load8(rows.z, eight);
  let d = load8(rows.w, eight);
  return FourRows(
    transpose(mat4x4f(a.lo, b.lo, c.lo, d.lo)),
    transpose(mat4x4f(a.hi, b.hi, c.hi, d.hi)),
  );
}

// A sum with what is still to be multiplied.
fn finished(_row: u32, sum: f32) -> f32 {
  return sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block_id: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) own: u32,
) {
  let tile = block_id.y * blocks.x + block_id.x;
  if (first_token(tile, ROWS) >= step.x) { return; }
  let mine = place_of(tile, ROWS, lane, own);

  // loop over the columns by eights: sixteen to a flush, 256 to a block
  for (var far = 0u; far < EIGHTS; far += 256u) {
    for (var near = far; near < min(far + 256u, EIGHTS); near += 16u) {
      for (var eight = near; eight < min(near + 16u, EIGHTS); eight++) {
        add(mine, 2u * eight, four_rows(mine.low, eight), four_rows(mine.high, eight));
      }
      flush();
    }
    write(mine, ROWS, far > 0u);
  }
}
