// self_test: y = W x with a known answer, to see that a device computes at all and computes right.
//
//   codes, codes4, scales, codebook    see parts/weights: bindings 0 to 3; COLS is 32, one group a row
//   x     [32]        f32
//   y     [ROWS, 3]   f32   y[r] = sum over c of x[c] * W[r, c], then both scales of the row
//
// dispatch: one workgroup of 4 lanes a row, 8 columns a lane, folded over x and y
// parts:    weights, table
// spec:     expected() in lib/self_test.ts

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const LANES = 4u;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, LANES);

  // ---- eight columns are mine
  let row = block.y * blocks.x + block.x;
  let safe_row = min(row, ROWS - 1u);
  let scale = load_scales(safe_row, 0u);
  let weights = weigh8(load_unit(safe_row, 0u)[lane], scale);
  sums[lane] = dot(x[2u * lane], weights.lo) + dot(x[2u * lane + 1u], weights.hi);
  workgroupBarrier();

  // ---- the row's sum is lane 0's
  if (lane == 0u && row < ROWS) {
    y[3u * row] = (sums[0] + sums[1] + sums[2] + sums[3]) * codebook.factor.x * codebook.factor.y;
    y[3u * row + 1u] = scale.x;
    y[3u * row + 2u] = scale.y;
  }
}
