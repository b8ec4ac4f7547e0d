// gram: H += X^T X, second moments of the inputs of a layer.
//
//   x     [tokens, STRIDE]   f32   columns from COLS on are not read
//   h     [ROWS, COLS]       f32   rows from FIRST_ROW on of H [COLS, COLS], whose both halves are added to
//   step  tokens, -, -, -    u32   a uniform
//
// bound:    |h - ref| <= (tokens + 2) * 2^-24 * sum |x_i x_j| against f64: sums run over tokens in turn
// dispatch: one workgroup of 64 lanes for 32 x 32 numbers of h, folded over x and y
// parts:    none
// spec:     gram() in lib/gram_reference.ts

override COLS: u32;
override STRIDE: u32;
override FIRST_ROW: u32 = 0;
override ROWS: u32 = COLS;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> h: array<f32>;
@group(0) @binding(2) var<uniform> step: vec4u;

// 16 tokens of the tile's rows and columns
var<workgroup> left: array<f32, 512>;
var<workgroup> right: array<f32, 512>;

fn load(token: u32, column: u32) -> f32 {
  if (token >= step.x || column >= COLS) { return 0.0; }
  return x[token * STRIDE + column];
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the tile that is mine
  let across = (COLS + 31u) / 32u;
  let tile = block.y * blocks.x + block.x;
  if (tile >= across * ((ROWS + 31u) / 32u)) { return; } // uniform over the workgroup
  let first_row = 32u * (tile / across); // of h
  let first_column = 32u * (tile % across);

  // loop over runs of 16 tokens: a lane loads eight of each side, and adds to 4 x 4 sums
  var sums: array<vec4f, 4>;
  for (var token = 0u; token < step.x; token += 16u) {
    for (var i = lane; i < 512u; i += 64u) {
      left[i] = load(token + i / 32u, FIRST_ROW + first_row + i % 32u);
      right[i] = load(token + i / 32u, first_column + i % 32u);
    }
    workgroupBarrier();
    for (var t = 0u; t < 16u; t++) {
      let at = 32u * t + 4u * (lane % 8u);
      let own = vec4f(right[at], right[at + 1u], right[at + 2u], right[at + 3u]);
      for (var i = 0u; i < 4u; i++) { sums[i] += left[32u * t + 4u * (lane / 8u) + i] * own; }
    }
    workgroupBarrier();
  }

  // write
  for (var i = 0u; i < 4u; i++) {
    for (var j = 0u; j < 4u; j++) {
      let row = first_row + 4u * (lane / 8u) + i;
      let column = first_column + 4u * (lane % 8u) + j;
      if (row < ROWS && column < COLS) { h[row * COLS + column] += sums[i][j]; }
    }
  }
}
