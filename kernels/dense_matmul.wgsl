// dense_matmul: Y = X W^T + b for many tokens, W in f32, f16 or bf16.
//
//   weights                               see parts/dense: binding 0
//   x     [tokens, UNITS * 32] as vec4f   f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, -                 u32   a uniform: no other batch compiles anew
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup of 64 lanes for 32 rows x 32 tokens, tiles of rows first, folded over x and y
// parts:    dense, tile
// spec:     denseMatmul() in lib/linear_reference.ts

override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

// A lane loads two eights of columns of one row; eights beyond the last are zeros.
fn fill_w(row: u32, unit: u32, lane: u32) {
  for (var i = 0u; i < 2u; i++) {
    let part = 2u * (lane % 2u) + i;
    let eight = 4u * unit + part;
    let w = load8(row, min(eight, EIGHTS - 1u));
    let at = 9u * (lane / 2u) + 2u * part;
    tile_w[at] = select(vec4f(0.0), w.lo, eight < EIGHTS);
    tile_w[at + 1u] = select(vec4f(0.0), w.hi, eight < EIGHTS);
  }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the tile that is mine
  let tiles = (ROWS + 31u) / 32u;
  let tile = block.y * blocks.x + block.x;
  let first_row = 32u * (tile % tiles);
  let first_token = 32u * (tile / tiles);
  let tokens = step.x;
  if (first_token >= tokens) { return; } // uniform over the workgroup

  // loop over the columns, 32 at a time
  let units = (COLS + 31u) / 32u;
  let row = min(first_row + lane / 2u, ROWS - 1u);
  let token = min(first_token + lane / 2u, tokens - 1u);
  for (var unit = 0u; unit < units; unit++) {
    fill_w(row, unit, lane);
    for (var i = 4u * (lane % 2u); i < 4u * (lane % 2u) + 4u; i++) {
      tile_x[9u * (lane / 2u) + i] = x[8u * (token * units + unit) + i];
    }
    workgroupBarrier();
    multiply(lane % 8u, lane / 8u, unit, tokens - first_token);
    workgroupBarrier();
  }
  finish();

  // write
  for (var j = 0u; j < 4u; j++) {
    for (var i = 0u; i < 4u; i++) {
      let my_row = first_row + lane % 8u + 8u * i;
      let my_token = first_token + lane / 8u + 8u * j;
      if (my_row < ROWS && my_token < tokens) {
        let at = FIRST_ROW + my_row;
        var sum = sums[j][i];
        if (BIAS) { sum += bias[at]; }
        y[my_token * OUT_ROWS + at] = select(0.0, y[my_token * OUT_ROWS + at], ADD) + sum;
      }
    }
  }
}
