// dense_matmul_strips: Y = X W^T + b for any number of tokens, W in f32, f16 or bf16: for devices that are a CPU.
//
//   weights                               see parts/dense: binding 0
//   x     [tokens, UNITS * 32] as vec4f   f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, 4                 u32   a uniform; the fourth is a number that compilers do not know
//                                               and so do not unroll by
//
// Compilers put off what they can: all products until all of a unit is loaded, which is more than registers
// hold. APART, each eight columns stand in a loop of one turn, out of which nothing is put off.
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for EACH rows x TOKENS tokens, rows first, folded over x and y
// parts:    dense, strips
// spec:     denseMatmul() in lib/linear_reference.ts

override APART: bool = false;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

// Adds eight columns of a unit. Those beyond the last of a row meet zeros of x.
fn add(row: u32, unit: u32, i: u32) {
  let w = load8(row, min(4u * unit + i, EIGHTS - 1u));
  add_eight(2u * i, w.lo, w.hi);
}

fn add_unit(row: u32, unit: u32) {
  if (APART) {
    for (var once = 0u; once < step.w; once += 4u) { add(row, unit, 0u); }
    for (var once = 0u; once < step.w; once += 4u) { add(row, unit, 1u); }
    for (var once = 0u; once < step.w; once += 4u) { add(row, unit, 2u); }
    for (var once = 0u; once < step.w; once += 4u) { add(row, unit, 3u); }
  } else {
    add(row, unit, 0u);
    add(row, unit, 1u);
    add(row, unit, 2u);
    add(row, unit, 3u);
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  walk(block.y * blocks.x + block.x, lane);
}
