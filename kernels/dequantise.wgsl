// dequantise: W as f32, one level x scale a weight.
//
//   codes, codes4, scales, codebook    see parts/weights: bindings 0 to 3
//   w     [ROWS, COLS]                 f32   rows of W from SKIP on, rounded to f32 once, and once more where scales carry a
//                                            power of two that takes the weight to the edge of f32
//
// dispatch: as many workgroups as pay, along x: lanes go round, each 16 columns of a row at a time
// parts:    weights, table
// spec:     dequantise() in lib/linear_reference.ts

override WORKGROUP: u32 = 64;
override SKIP: u32 = 0;

@group(0) @binding(4) var<storage, read_write> w: array<f32>;

fn put(row: u32, column: u32, weight: f32) {
  if (column < COLS) { w[row * COLS + column] = weight; }
}

fn put_four(row: u32, column: u32, weights: vec4f) {
  let four = weights * codebook.factor.x * codebook.factor.y;
  put(row, column, four.x);
  put(row, column + 1u, four.y);
  put(row, column + 2u, four.z);
  put(row, column + 3u, four.w);
}

// One word of a unit.
fn put_word(row: u32, column: u32, word: u32, scale: vec2f) {
  let weights = weigh8(word, scale);
  put_four(row, column, weights.lo);
  put_four(row, column + 4u, weights.hi);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, WORKGROUP);
  for (var half = id.x; half < ROWS * 2u * UNITS; half += WORKGROUP * blocks.x) {
    let row = half / (2u * UNITS);
    let column = 16u * (half % (2u * UNITS));
    if (column >= COLS) { continue; }
    let words = load_unit(SKIP + row, column / 32u);
    let scale = whole_scales(SKIP + row, column / GROUP);
    let second = column / 16u % 2u == 1u;
    put_word(row, column, select(words.x, words.z, second), scale);
    put_word(row, column + 8u, select(words.y, words.w, second), scale);
  }
}
