// dequantise: W as f32, one level x scale a weight.
//
//   codes, codes4, scales, codebook    see parts/weights: bindings 0 to 3
//   w     [ROWS, COLS]                 f32   rounded to f32 once, and once more where scales carry a
//                                            power of two that takes the weight to the edge of f32
//
// dispatch: a lane for each 16 columns of a row, folded over x and y
// parts:    weights, table
// spec:     dequantise() in lib/linear_reference.ts

override WORKGROUP: u32 = 64;

@group(0) @binding(4) var<storage, read_write> w: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, WORKGROUP);

  // the half unit that is mine
  let index = (block.y * blocks.x + block.x) * WORKGROUP + lane;
  let row = index / (2u * UNITS);
  let column = 16u * (index % (2u * UNITS));
  if (row >= ROWS || column >= COLS) { return; }

  let words = load_unit(row, column / 32u);
  let scale = whole_scales(row, column / GROUP);
  for (var i = 0u; i < 2u; i++) {
    let v = decode8(words[column / 16u % 2u * 2u + i]);
    let lo = weigh(v.lo, scale) * codebook.factor.x * codebook.factor.y;
    let hi = weigh(v.hi, scale) * codebook.factor.x * codebook.factor.y;
    for (var j = 0u; j < 8u; j++) {
      let at = column + 8u * i + j;
      if (at < COLS) { w[row * COLS + at] = select(hi[j % 4u], lo[j % 4u], j < 4u); }
    }
  }
}
