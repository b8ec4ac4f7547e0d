// matmul: Y = X W^T + b for many tokens, W packed and dequantised once a tile.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [tokens, UNITS * 32] as vec4f   f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, -                 u32   a uniform: no other batch compiles anew
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64: each weight takes its own side's scale
// dispatch: one workgroup of 64 lanes for 32 rows x 32 tokens, tiles of rows first, folded over x and y
// parts:    weights, table, tile
// spec:     matmul() in lib/linear_reference.ts

override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<uniform> step: vec4u;

// A lane dequantises 16 columns, half a unit, of one row; rows beyond the last repeat it.
fn fill_w(row: u32, unit: u32, lane: u32) {
  let side = lane % 2u;
  let words = load_unit(row, unit);
  let group = min((unit * 32u + side * 16u) / GROUP, GROUPS - 1u);
  let scale = load_scales(row, group);
  for (var i = 0u; i < 2u; i++) {
    let v = decode8(select(words[i], words[2u + i], side == 1u));
    let at = 9u * (lane / 2u) + 4u * side + 2u * i;
    tile_w[at] = weigh(v.lo, scale);
    tile_w[at + 1u] = weigh(v.hi, scale);
  }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, 64u);

  // the tile that is mine
  let tiles = (ROWS + 31u) / 32u;
  let tile = block.y * blocks.x + block.x;
  let first_row = 32u * (tile % tiles);
  let first_token = 32u * (tile / tiles);
  let tokens = step.x;
  if (first_token >= tokens) { return; } // uniform over the workgroup

  // loop over the units: half a row of W and half a row of X a lane
  let row = min(first_row + lane / 2u, ROWS - 1u);
  let token = min(first_token + lane / 2u, tokens - 1u);
  for (var unit = 0u; unit < UNITS; unit++) {
    fill_w(row, unit, lane);
    for (var i = 4u * (lane % 2u); i < 4u * (lane % 2u) + 4u; i++) {
      tile_x[9u * (lane / 2u) + i] = x[8u * (token * UNITS + unit) + i];
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
        var sum = sums[j][i] * codebook.factor.x * codebook.factor.y;
        if (SCALE_BITS < 16u) { sum *= row_factor(my_row); }
        if (BIAS) { sum += bias[at]; }
        y[my_token * OUT_ROWS + at] = select(0.0, y[my_token * OUT_ROWS + at], ADD) + sum;
      }
    }
  }
}
