// dense_matmul_broadcast: Y = X W^T + b for 3 to 32 tokens on a GPU, W in f32, f16 or bf16.
//
//   weights                               see parts/dense: binding 0
//   x     [tokens, UNITS * 32] as vec4f   f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to
//                                               where ADD; [SPLIT, MOST, OUT_ROWS] where SPLIT > 1
//   step  tokens, -, -, -                 u32   a uniform: any batch up to MOST is one kernel
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: SPLIT workgroups a tile of parts/broadcast, tiles of rows first, folded over x and y
// parts:    dense, place, broadcast
// spec:     denseMatmul() in lib/linear_reference.ts

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

// The eights of a unit.
struct Fetched {
  a: Words,
  b: Words,
  c: Words,
  d: Words,
}

// Those beyond the last of a row meet zeros of x.
fn fetch(row: u32, unit: u32) -> Fetched {
  let first = 4u * unit;
  let last = EIGHTS - 1u;
  return Fetched(
    words8(row, min(first, last)),
    words8(row, min(first + 1u, last)),
    words8(row, min(first + 2u, last)),
    words8(row, min(first + 3u, last)),
  );
}

fn word_of(unit: Fetched, i: u32) -> Eight {
  switch (i) {
    case 0u: { return eight_of(unit.a); }
    case 1u: { return eight_of(unit.b); }
    case 2u: { return eight_of(unit.c); }
    default: { return eight_of(unit.d); }
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
}
