// dense_matmul: Y = X W^T + b for many tokens, W in f32, f16 or bf16.
//
//   weights                               see parts/dense: binding 0
//   x     [tokens, UNITS * 32] as vec4f   f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to
//                                               where ADD; [SPLIT, MOST, OUT_ROWS] where SPLIT > 1
//   step  tokens, -, -, -                 u32   a uniform: any batch up to MOST is one kernel
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: SPLIT workgroups a tile of parts/tile, tiles of rows first, folded over x and y
// parts:    dense, place, tile
// spec:     denseMatmul() in lib/linear_reference.ts

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

// Two eights of columns; those beyond the last are zeros.
fn fetch(row: u32, unit: u32, half: u32) -> array<Eight, 2> {
  var both: array<Eight, 2>;
  for (var i = 0u; i < 2u; i++) {
    let eight = 4u * unit + 2u * half + i;
    both[i] = load8(row, min(eight, EIGHTS - 1u));
    if (eight >= EIGHTS) { both[i] = Eight(vec4f(0.0), vec4f(0.0)); }
  }
  return both;
}

fn place_w(w: array<Eight, 2>, at: u32) {
  for (var i = 0u; i < 2u; i++) {
    tile_w[at + 2u * i] = w[i].lo;
    tile_w[at + 2u * i + 1u] = w[i].hi;
  }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let mine = place_of(block.y * blocks.x + block.x);
  if (mine.live == 0u) { return; } // uniform over the workgroup
  walk(mine, lane);
  write(mine, lane);
}
